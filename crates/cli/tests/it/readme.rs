//! The tour of the README: each block of commands in one shell, from top to bottom, prints what the
//! README shows below it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;

use tempfile::TempDir;

use crate::support::{output, program, reserve_port};

/// The addresses in the README, which the test replaces: other tests run at the same time.
const ADDRESSES: [&str; 2] = ["127.0.0.1:8080", "127.0.0.1:8081"];
/// Separates what one block prints from what the next one does.
const MARK: &str = "== next block";

/// Some commands, and the lines that they print.
struct Step {
    commands: String,
    shown: Vec<String>,
}

/// The steps of the README's tour, at `addresses` instead of its own.
fn tour(addresses: &[SocketAddr]) -> Vec<Step> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let mut readme = fs::read_to_string(readme).unwrap();
    for (address, own) in ADDRESSES.iter().zip(addresses) {
        assert!(readme.contains(address), "{address}");
        readme = readme.replace(address, &own.to_string());
    }
    let (_, tour) = readme.split_once("\n## The tour\n").unwrap();
    let tour = tour.split("\n## ").next().unwrap();
    let mut steps: Vec<Step> = Vec::new();
    // Every second part is inside a fence: the language, then the lines.
    for block in tour.split("```").skip(1).step_by(2) {
        match block.split_once('\n').unwrap() {
            ("sh", commands) => steps.push(Step { commands: commands.to_owned(), shown: Vec::new() }),
            ("text", lines) => {
                steps.last_mut().unwrap().shown.extend(lines.lines().map(str::to_owned));
            }
            (language, _) => panic!("a block of {language:?} is neither commands nor what they print"),
        }
    }
    steps
}

/// Whether `line` is `shown`, in which each `…` stands for any text.
fn is_shown(line: &str, shown: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap()) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.is_empty()
}

#[test]
fn the_readmes_tour_prints_what_the_readme_shows() {
    let (_held, addresses): (Vec<OwnedFd>, Vec<SocketAddr>) =
        ADDRESSES.iter().map(|_| reserve_port(Ipv4Addr::LOCALHOST)).unzip();
    let steps = tour(&addresses);
    assert!(steps.len() > 4, "the tour has {} blocks", steps.len());

    let (own, script_folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut script = "set -eu\nexec 2>&1\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n".to_owned();
    for step in &steps {
        script.push_str(&step.commands);
        script.push_str(&format!("printf '%s\\n' '{MARK}'\n"));
    }
    let script_file = script_folder.path().join("tour.sh");
    fs::write(&script_file, script).unwrap();
    let folder = Path::new(env!("CARGO_BIN_EXE_outflow")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    // Servers that a failure leaves behind end with the shell: `timeout` signals its whole group.
    let mut shell = program("setpriv");
    shell.args(["--pdeathsig", "TERM", "--", "timeout", "--kill-after=5", "100", "bash"]).arg(&script_file);
    shell.current_dir(own.path()).env("PATH", path).env("HOME", own.path());
    for (name, _) in std::env::vars_os() {
        if ["OUTFLOW_", "XDG_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            shell.env_remove(name);
        }
    }
    let printed = output(&mut shell).replace('\r', "");

    let blocks: Vec<Vec<&str>> =
        printed.split(&format!("{MARK}\n")).map(|block| block.lines().collect()).collect();
    assert_eq!(blocks.len(), steps.len() + 1, "{printed}");
    for (step, lines) in steps.iter().zip(&blocks) {
        let same = lines.len() == step.shown.len()
            && lines.iter().zip(&step.shown).all(|(line, shown)| is_shown(line, shown));
        assert!(same, "{}prints\n{}\nnot\n{}", step.commands, lines.join("\n"), step.shown.join("\n"));
    }
    assert!(!own.path().join("outflow-tour").exists());
}

#[test]
fn dots_in_the_readme_stand_for_any_text() {
    for (line, shown) in [("same", "same"), ("id 7 done", "id … done"), ("a-b-c", "a-…-c"), ("a1b2", "a…b…")]
    {
        assert!(is_shown(line, shown), "{line:?} {shown:?}");
    }
    for (line, shown) in
        [("same.", "same"), ("id 7 failed", "id … done"), ("", "same"), ("a", "…b"), ("ab", "a")]
    {
        assert!(!is_shown(line, shown), "{line:?} {shown:?}");
    }
}
