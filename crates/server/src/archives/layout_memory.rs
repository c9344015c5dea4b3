//! Remembers which layout of an archive a client began with.
//!
//! An archive has two layouts: one until all CRC-32s are known, and a better one from then on. A
//! client that sends the ETag it began with (`If-Range`, `If-Match`) says itself which one to
//! resume. `curl -C -` and `wget -c` do not: they send a bare `Range`, and would append one
//! layout's tail to the other's head if the CRC-32s became known in between. So the server
//! remembers, across restarts, which layout each client address last received from the start. For
//! an unknown address (it may have changed with the network) the layout that was last sent to
//! anyone is the best guess.
//!
//! Several people may share one address (a proxy, a NAT). Once it has received both layouts, its
//! bare ranges are ambiguous, and none of them is answered.
//!
//! If nothing is remembered, because the cache folder was lost, there is nothing to guess from, and
//! a client that resumes (see [`resumes`]) is rejected.
//!
//! HEAD sends no byte, but a length and a tag, and readers of remote archives rely on these. So
//! what it sent is remembered for this client, too; but not in place of a layout whose bytes the
//! client has: a HEAD must not spoil a download that has broken off.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::RANGE;
use outflow_catalog::{Fingerprint, Memo};
use outflow_zip::Form;

/// Maximum number of pairs of client and archive that are remembered. Each takes 20 bytes on disk
/// and about 40 in memory.
///
/// Bound: archives.
pub(crate) const MAX_REMEMBERED: usize = 100_000;

/// Remembers which layout of an archive each client received.
pub(crate) struct LayoutMemory(Memo);

/// The layouts that a client, or any client, received. The numbers are stored in files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientHistory {
    /// It received bytes of this layout.
    Given(Form),
    /// It received bytes of both layouts. There may be several clients, and the one that resumes
    /// need not be the one that began last.
    Unsure,
    /// It received this layout's length and tag.
    Described(Form),
}

impl ClientHistory {
    fn number(self) -> u32 {
        match self {
            ClientHistory::Given(Form::Stored) => 1,
            ClientHistory::Given(Form::Streamed) => 2,
            ClientHistory::Unsure => 3,
            ClientHistory::Described(Form::Stored) => 4,
            ClientHistory::Described(Form::Streamed) => 5,
        }
    }

    fn of(number: u32) -> Option<ClientHistory> {
        let all = [Form::Stored, Form::Streamed]
            .map(|form| [ClientHistory::Given(form), ClientHistory::Described(form)]);
        all.into_iter().flatten().chain([ClientHistory::Unsure]).find(|history| history.number() == number)
    }

    fn form(self) -> Option<Form> {
        match self {
            ClientHistory::Given(form) | ClientHistory::Described(form) => Some(form),
            ClientHistory::Unsure => None,
        }
    }
}

impl LayoutMemory {
    pub(crate) fn new(memo: Memo) -> LayoutMemory {
        LayoutMemory(memo)
    }

    /// `client` receives `archive` in `form` from its start.
    pub(super) fn record_start(&self, archive: &[u8; 32], client: Option<IpAddr>, form: Form) {
        let history = match self.history(archive, client) {
            Some(ClientHistory::Unsure) => ClientHistory::Unsure,
            Some(ClientHistory::Given(before)) if before != form => ClientHistory::Unsure,
            _ => ClientHistory::Given(form),
        };
        if client.is_some() {
            self.0.insert(key(archive, None), ClientHistory::Given(form).number());
        }
        self.0.insert(key(archive, client), history.number());
    }

    /// `client` receives length and tag of `archive` in `form`, which other clients do not rely on.
    pub(super) fn record_head(&self, archive: &[u8; 32], client: Option<IpAddr>, form: Form) {
        if !matches!(self.history(archive, client), Some(ClientHistory::Given(_) | ClientHistory::Unsure)) {
            self.0.insert(key(archive, client), ClientHistory::Described(form).number());
        }
    }

    /// `client` receives a range of `archive` in `form` without having named a tag. If it is not
    /// known to have this form, it begins with it: the ranges that it requests next have to fit
    /// this one.
    pub(super) fn record_range(&self, archive: &[u8; 32], client: Option<IpAddr>, form: Form) {
        if self.history(archive, client).and_then(ClientHistory::form) != Some(form) {
            self.record_start(archive, client, form);
        }
    }

    /// The form that `client` resumes, as far as is known.
    pub(super) fn resumed_form(&self, archive: &[u8; 32], client: Option<IpAddr>) -> Option<Form> {
        self.history(archive, client).or_else(|| self.history(archive, None))?.form()
    }

    fn history(&self, archive: &[u8; 32], client: Option<IpAddr>) -> Option<ClientHistory> {
        self.0.get(key(archive, client)).and_then(ClientHistory::of)
    }
}

/// Whether a bare `Range` resumes a download and so depends on the layout: it names a position
/// other than the start. A range from the start or a suffix (`-500`) does not: its client need not
/// have anything yet.
pub(super) fn resumes(headers: &HeaderMap) -> bool {
    headers.get_all(RANGE).iter().any(|line| {
        let Some((unit, set)) = line.as_bytes().split_at_checked(b"bytes=".len()) else { return false };
        let from_inside = |spec: &[u8]| {
            let first = spec.split(|byte| *byte == b'-').next().unwrap_or_default();
            first.iter().any(|byte| matches!(byte, b'1'..=b'9'))
        };
        unit.eq_ignore_ascii_case(b"bytes=") && set.split(|byte| *byte == b',').any(from_inside)
    })
}

/// The key of a client, or of all clients.
fn key(archive: &[u8; 32], client: Option<IpAddr>) -> Fingerprint {
    match client.map(|client| client.to_canonical()) {
        Some(IpAddr::V4(client)) => Fingerprint::of(&[archive, &client.octets()]),
        Some(IpAddr::V6(client)) => Fingerprint::of(&[archive, &client.octets()]),
        None => Fingerprint::of(&[archive, b"anyone"]),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn each_client_continues_what_it_began() {
        let temp = tempfile::tempdir().unwrap();
        let open = || LayoutMemory::new(Memo::open(temp.path(), "layouts", MAX_REMEMBERED).unwrap());
        let memory = open();
        let (archive, other) = ([1; 32], [2; 32]);
        assert_eq!(memory.resumed_form(&archive, client(1)), None);
        memory.record_start(&archive, client(1), Form::Streamed);
        memory.record_start(&archive, client(2), Form::Stored);
        // Going on is no news.
        memory.record_range(&archive, client(1), Form::Streamed);
        let again = open();
        for memory in [&memory, &again] {
            assert_eq!(memory.resumed_form(&archive, client(1)), Some(Form::Streamed));
            assert_eq!(memory.resumed_form(&archive, client(2)), Some(Form::Stored));
            assert_eq!(memory.resumed_form(&archive, client(3)), Some(Form::Stored));
            assert_eq!(memory.resumed_form(&archive, None), Some(Form::Stored));
            assert_eq!(memory.resumed_form(&other, client(1)), None);
        }
        memory.record_range(&other, client(1), Form::Streamed);
        assert_eq!(memory.resumed_form(&other, client(1)), Some(Form::Streamed));
    }

    #[test]
    fn a_head_counts_for_its_client_only_and_less_than_bytes() {
        let memory = LayoutMemory::new(Memo::in_memory(MAX_REMEMBERED));
        let archive = [1; 32];
        memory.record_head(&archive, client(1), Form::Streamed);
        assert_eq!(memory.resumed_form(&archive, client(1)), Some(Form::Streamed));
        assert_eq!(memory.resumed_form(&archive, client(2)), None);
        memory.record_range(&archive, client(1), Form::Streamed);
        memory.record_head(&archive, client(1), Form::Stored);
        assert_eq!(memory.resumed_form(&archive, client(1)), Some(Form::Stored));
        // A layout that was only announced yields to the other.
        memory.record_start(&archive, client(1), Form::Streamed);
        memory.record_head(&archive, client(1), Form::Stored);
        assert_eq!(memory.resumed_form(&archive, client(1)), Some(Form::Streamed));
    }

    #[test]
    fn an_address_that_received_both_layouts_resumes_neither() {
        let temp = tempfile::tempdir().unwrap();
        let open = || LayoutMemory::new(Memo::open(temp.path(), "layouts", MAX_REMEMBERED).unwrap());
        let memory = open();
        let archive = [1; 32];
        for (this, forms) in [
            (client(1), [Form::Streamed, Form::Stored]),
            (client(2), [Form::Stored, Form::Streamed]),
            (None, [Form::Streamed, Form::Stored]),
        ] {
            let archive = if this.is_none() { [3; 32] } else { archive };
            for form in forms {
                memory.record_start(&archive, this, form);
            }
            assert_eq!(memory.resumed_form(&archive, this), None);
            // Nothing that one of them does says what the others have.
            for form in forms {
                memory.record_start(&archive, this, form);
                memory.record_head(&archive, this, form);
                memory.record_range(&archive, this, form);
                assert_eq!(memory.resumed_form(&archive, this), None, "{this:?}");
            }
            assert_eq!(open().resumed_form(&archive, this), None, "{this:?}");
        }
        // Others are not concerned, nor are other archives.
        assert_eq!(memory.resumed_form(&archive, client(3)), Some(Form::Streamed));
        assert_eq!(memory.resumed_form(&[2; 32], client(1)), None);
        memory.record_start(&[2; 32], client(1), Form::Streamed);
        assert_eq!(memory.resumed_form(&[2; 32], client(1)), Some(Form::Streamed));
    }

    #[test]
    fn a_position_other_than_the_start_resumes() {
        for (range, presuming) in [
            ("bytes=1-", true),
            ("Bytes= 100-199", true),
            ("bytes=10-10", true),
            ("bytes=0-0,5-", true),
            ("bytes=-5, 007-8", true),
            ("bytes=0-", false),
            ("bytes=00-99", false),
            ("bytes=-500", false),
            ("bytes=0-9,-500", false),
            ("rows=5-6", false),
            ("bytes", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            assert!(!resumes(&headers));
            headers.insert(RANGE, HeaderValue::from_str(range).unwrap());
            assert_eq!(resumes(&headers), presuming, "{range}");
        }
    }
}
