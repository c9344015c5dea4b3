//! What a relay is measured against: tokio's own copy loop, on one thread, with buffers of 64 KiB.
//!
//! `copy-loop LISTEN TARGET`, both host:port; prints `relaying on ADDRESS`.

use std::env::args;
use std::io::{self, Write as _};

use tokio::net::{TcpListener, TcpStream};

const BUFFER_BYTES: usize = 64 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let (Some(listen), Some(target)) = (args().nth(1), args().nth(2)) else {
        return Err(io::Error::other("usage: copy-loop LISTEN TARGET"));
    };
    let listener = TcpListener::bind(listen).await?;
    writeln!(io::stdout(), "relaying on {}", listener.local_addr()?)?;
    loop {
        let (mut client, _) = listener.accept().await?;
        let target = target.clone();
        tokio::spawn(async move {
            let mut far = TcpStream::connect(target).await?;
            client.set_nodelay(true)?;
            far.set_nodelay(true)?;
            tokio::io::copy_bidirectional_with_sizes(&mut client, &mut far, BUFFER_BYTES, BUFFER_BYTES).await
        });
    }
}
