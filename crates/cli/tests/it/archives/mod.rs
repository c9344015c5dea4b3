//! ZIP archives made on the fly.
//!
//! ```text
//! readers     archives in unzip, 7z, bsdtar, Python and Java
//! big         more than 4 GiB, more than 65,535 entries
//! changing    files that change before or while their archive is sent
//! resumes     archives resumed after something has changed
//! selections  archives of some of the files, by name and by token
//! ```

mod big;
mod changing;
mod readers;
mod resumes;
mod selections;
