//! The double as a program, for benchmarks and for tests in other languages.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use outflow_testkit::s3::{Double, FaultPlan, ObjectBody, SeededFaults, StoredObject, control};

/// An S3 server for tests. Uploads stay in memory.
#[derive(Parser)]
#[command(version, about)]
struct DoubleArgs {
    /// A folder whose files are there from the start, as objects of the bucket `outflow`. They may
    /// not change.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Read the folder's files for their CRC-32s, as if they had been uploaded with them.
    #[arg(long, requires = "dir")]
    crc32: bool,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// What each request waits at least.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Bytes each second for a connection; 0 for no limit.
    #[arg(long, default_value_t = 0)]
    bandwidth: u64,
    /// The probability that a GET meets a random fault.
    #[arg(long, default_value_t = 0.0)]
    faults: f64,
    /// Where the dice start.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to listen for orders, as JSON by HTTP.
    #[arg(long)]
    control: Option<SocketAddr>,
    /// Answer requests without a signature as well.
    #[arg(long)]
    anonymous: bool,
    /// Threads that serve.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = DoubleArgs::parse();
    let mut builder = Double::builder().listen(options.listen).threads(options.threads);
    if options.anonymous {
        builder = builder.anonymous();
    }
    let double = Arc::new(builder.start().with_context(|| format!("cannot listen on {}", options.listen))?);
    if let Some(dir) = &options.dir {
        put_folder(&double, dir, String::new(), options.crc32)?;
    }
    double.set_latency(Duration::from_millis(options.latency_ms));
    double.set_bandwidth(options.bandwidth);
    if options.faults > 0.0 {
        let seeded = SeededFaults::new(options.faults, options.seed);
        double.set_plan(FaultPlan { rules: Vec::new(), seeded: Some(seeded) });
    }
    println!("listening on {}/", double.endpoint());
    if let Some(listen) = options.control {
        let (addr, serving) = control::control(Arc::clone(&double), listen)
            .await
            .with_context(|| format!("cannot listen on {listen}"))?;
        println!("control on http://{addr}/");
        tokio::spawn(serving);
    }
    tokio::signal::ctrl_c().await?;
    Ok(())
}

fn put_folder(double: &Double, dir: &Path, prefix: String, crc32: bool) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let key = format!("{prefix}{name}");
        if path.is_dir() {
            put_folder(double, &path, key + "/", crc32)?;
            continue;
        }
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let metadata = file.metadata()?;
        let body = ObjectBody::File { file: Arc::new(file), len: metadata.len() };
        let object = StoredObject::new(body).modified(metadata.modified()?);
        double.put(&key, if crc32 { object.with_crc32()? } else { object });
    }
    Ok(())
}
