//! Opens a path below the root without leaving the root.
//!
//! The kernel does it in one call (`openat2`, Linux 5.6; `RESOLVE_CACHED` 5.12). Kernels without
//! `openat2`, paths over 4,095 bytes and absolute links back into the root are resolved here, one
//! component at a time.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use outflow_content::{RelPath, Wait};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::OpenErrorKind;

/// Maximum length of a path that the kernel takes in one call, in bytes (`PATH_MAX` less the NUL).
const KERNEL_PATH: usize = 4095;
/// Maximum number of links in one path, as in the kernel.
///
/// Bound: local files.
const LINKS: usize = 40;
/// Maximum number of retries of a lookup that raced with a rename.
///
/// Bound: local files.
const RACES: usize = 16;

/// Regular files are opened so that nothing else hurts: a FIFO does not wait for a writer, a
/// terminal does not become ours.
pub(crate) fn open_flags() -> OFlags {
    OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC
}

pub(crate) struct PathResolver {
    /// The root's path, to recognise absolute links back into it.
    base: PathBuf,
    follow: bool,
    without_openat2: AtomicBool,
    without_cached: AtomicBool,
}

impl PathResolver {
    pub(crate) fn new(base: &Path, follow: bool) -> PathResolver {
        PathResolver {
            base: base.to_owned(),
            follow,
            without_openat2: AtomicBool::new(false),
            without_cached: AtomicBool::new(false),
        }
    }

    pub(crate) fn open(
        &self,
        root: BorrowedFd<'_>,
        path: &RelPath,
        flags: OFlags,
        wait: Wait,
    ) -> Result<OwnedFd, OpenErrorKind> {
        let bytes = if path.is_root() { b"." } else { path.as_bytes() };
        if bytes.len() <= KERNEL_PATH && !self.without_openat2.load(Ordering::Relaxed) {
            match self.open_by_kernel(root, bytes, flags, wait) {
                Ok(fd) => return Ok(fd),
                Err(Errno::NOSYS) => self.without_openat2.store(true, Ordering::Relaxed),
                // An absolute link may still point into the root; and seccomp filters answer EPERM.
                Err(Errno::XDEV | Errno::PERM) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        match wait {
            Wait::No => Err(OpenErrorKind::WouldBlock),
            Wait::Yes => self.open_by_steps(root, path, flags),
        }
    }

    fn open_by_kernel(
        &self,
        root: BorrowedFd<'_>,
        path: &[u8],
        flags: OFlags,
        wait: Wait,
    ) -> Result<OwnedFd, Errno> {
        let mut resolve = ResolveFlags::NO_MAGICLINKS;
        if !self.follow {
            resolve |= ResolveFlags::BENEATH;
        }
        if wait == Wait::No {
            if self.without_cached.load(Ordering::Relaxed) {
                return Err(Errno::AGAIN);
            }
            return match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve | ResolveFlags::CACHED)
            {
                Err(Errno::INVAL) => {
                    self.without_cached.store(true, Ordering::Relaxed);
                    Err(Errno::AGAIN)
                }
                answer => answer,
            };
        }
        let mut races = 0;
        loop {
            match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
                // openat2(2): a ".." in a link raced with a rename somewhere; "retry".
                Err(Errno::AGAIN) if races < RACES => races += 1,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(Errno::BUSY),
                answer => return answer,
            }
        }
    }

    /// Resolves one component after the other, and reads and follows links. `..` occurs in links
    /// only; it starts at the root again, so that one descriptor is enough.
    pub(crate) fn open_by_steps(
        &self,
        root: BorrowedFd<'_>,
        path: &RelPath,
        flags: OFlags,
    ) -> Result<OwnedFd, OpenErrorKind> {
        let mut links = 0;
        // Real names from the root to the current folder, and the names that follow, next one last.
        let mut here: Vec<Vec<u8>> = Vec::new();
        let mut ahead: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        ahead.reverse();
        let mut dir = reopen(root, &here)?;
        while let Some(name) = ahead.pop() {
            if name == b".." {
                if here.pop().is_none() {
                    return Err(OpenErrorKind::LinkRefused);
                }
                dir = reopen(root, &here)?;
                continue;
            }
            let target = match rustix::fs::readlinkat(&dir, name.as_slice(), Vec::new()) {
                Ok(target) => target,
                // Not a link: EINVAL.
                Err(Errno::INVAL) => {
                    if ahead.is_empty() {
                        return Ok(rustix::fs::openat(
                            &dir,
                            name.as_slice(),
                            flags | OFlags::NOFOLLOW,
                            Mode::empty(),
                        )?);
                    }
                    dir = step(&dir, &name)?;
                    here.push(name);
                    continue;
                }
                Err(errno) => return Err(errno.into()),
            };
            links += 1;
            if links > LINKS {
                return Err(OpenErrorKind::LinkRefused);
            }
            let target = target.as_bytes();
            let inside = if target.first() == Some(&b'/') {
                match Path::new(std::ffi::OsStr::from_bytes(target)).strip_prefix(&self.base) {
                    Ok(inside) => {
                        here.clear();
                        dir = reopen(root, &here)?;
                        inside.as_os_str().as_bytes()
                    }
                    Err(_) if self.follow => return self.open_outside(target, &ahead, flags),
                    Err(_) => return Err(OpenErrorKind::LinkRefused),
                }
            } else {
                target
            };
            let steps = inside.split(|byte| *byte == b'/').filter(|step| !matches!(*step, b"" | b"."));
            let before = ahead.len();
            ahead.extend(steps.map(<[u8]>::to_vec));
            ahead[before..].reverse();
        }
        // The path ended in ".", in ".." or in a link to a folder above.
        Ok(rustix::fs::openat(&dir, ".", flags, Mode::empty())?)
    }

    /// Follows an absolute link out of the root, which is allowed here.
    fn open_outside(
        &self,
        target: &[u8],
        ahead: &[Vec<u8>],
        flags: OFlags,
    ) -> Result<OwnedFd, OpenErrorKind> {
        let mut path = target.to_vec();
        for name in ahead.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        Ok(rustix::fs::open(path.as_slice(), flags, Mode::empty())?)
    }
}

fn step(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

fn reopen(root: BorrowedFd<'_>, names: &[Vec<u8>]) -> Result<OwnedFd, Errno> {
    let mut dir =
        rustix::fs::openat(root, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for name in names {
        dir = step(&dir, name)?;
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::symlink;

    use super::*;

    /// What both ways must agree on, but for absolute links, which only the second way can judge.
    #[test]
    fn the_kernel_and_the_steps_agree() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let inside = tempfile::tempdir().unwrap();
        let at = |name: &str| inside.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/b/file"), "f").unwrap();
        symlink("a/b/file", at("link")).unwrap();
        symlink("../../a/./b", at("a/b/round")).unwrap();
        symlink("../..", at("a/b/top")).unwrap();
        symlink("../../..", at("a/b/over")).unwrap();
        symlink(outside.path().join("secret"), at("out")).unwrap();
        symlink(at("a/b/file"), at("absolute")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("/proc/self/root", at("magic")).unwrap();
        let base = inside.path().canonicalize().unwrap();
        let root = rustix::fs::open(&base, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let resolver = PathResolver::new(&base, false);
        for (path, works) in [
            ("", true),
            ("a", true),
            ("a/b/file", true),
            ("link", true),
            ("a/b/round/file", true),
            ("a/b/top/a/b/top/link", true),
            ("absolute", true),
            ("a/b/over", false),
            ("a/b/over/x", false),
            ("out", false),
            ("loop", false),
            ("magic/etc/passwd", false),
            ("missing", false),
            ("link/x", false),
        ] {
            let path = RelPath::new(path.as_bytes()).unwrap();
            let both = resolver.open(root.as_fd(), &path, open_flags(), Wait::Yes);
            let steps = resolver.open_by_steps(root.as_fd(), &path, open_flags());
            assert_eq!(both.is_ok(), works, "{path}: {both:?}");
            assert_eq!(steps.is_ok(), works, "{path}: {steps:?}");
        }
    }

    #[test]
    fn a_path_longer_than_the_kernel_takes_is_reached_step_by_step() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        let root = rustix::fs::open(&base, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let name = "d".repeat(250);
        let mut dir = rustix::io::dup(&root).unwrap();
        for _ in 0..20 {
            rustix::fs::mkdirat(&dir, &name, Mode::RWXU).unwrap();
            dir = step(&dir, name.as_bytes()).unwrap();
        }
        let path = RelPath::new(vec![name.as_str(); 20].join("/").as_bytes()).unwrap();
        assert!(path.as_bytes().len() > KERNEL_PATH);
        let resolver = PathResolver::new(&base, false);
        assert!(resolver.open(root.as_fd(), &path, open_flags(), Wait::Yes).is_ok());
        // remove_dir_all works with descriptors, so the depth is no trouble for it either.
    }
}
