//! Which layout of an archive a client began with.
//!
//! An archive has two layouts: one for the time before all CRC-32s are known, and a better one for the
//! time after. A client that names the ETag it began with (`If-Range`, `If-Match`) tells by itself which
//! one to continue. `curl -C -` and `wget -c` do not: they send a bare `Range`, and would append the one
//! layout's tail to the other's head if the CRC-32s became known in between. So it is remembered, across
//! restarts, which layout each client address was given last from the start. For an address that is not
//! known (it may have changed with the network) the layout that was last given to anyone is the best guess.
//!
//! Several people may share one address (a proxy, a NAT). Once both layouts were given to it, nobody knows who
//! of them has which, and none of its bare ranges can be trusted.
//!
//! Sometimes nothing is remembered at all: the cache folder was lost. Then there is nothing to guess from, and
//! a client that goes on somewhere (see [`presumes`]) is refused.
//!
//! HEAD hands out no byte, but a length and a tag, and readers of remote archives go by these. So what it told
//! is remembered for this client, too; but not in place of a layout whose bytes it was given: looking at an
//! archive must not spoil a download of it that has broken off.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::RANGE;
use outflow_catalog::{Fingerprint, Memo};
use outflow_zip::Form;

/// How many pairs of client and archive are remembered; 20 bytes on disk and about 40 in memory each.
pub(crate) const CAPACITY: usize = 100_000;

/// Remembers which layout of which archive was handed out to whom.
pub(crate) struct Resume(Memo);

/// What is remembered of a client, or of everybody. The numbers are in files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Past {
    /// It was given this layout's bytes.
    Given(Form),
    /// It was given bytes of both layouts: perhaps they are several, and the one who goes on need not be the one
    /// who began last.
    Unsure,
    /// It knows this layout's length and tag.
    Told(Form),
}

impl Past {
    fn number(self) -> u32 {
        match self {
            Past::Given(Form::Stored) => 1,
            Past::Given(Form::Streamed) => 2,
            Past::Unsure => 3,
            Past::Told(Form::Stored) => 4,
            Past::Told(Form::Streamed) => 5,
        }
    }

    fn of(number: u32) -> Option<Past> {
        let all = [Form::Stored, Form::Streamed].map(|form| [Past::Given(form), Past::Told(form)]);
        all.into_iter().flatten().chain([Past::Unsure]).find(|past| past.number() == number)
    }

    fn form(self) -> Option<Form> {
        match self {
            Past::Given(form) | Past::Told(form) => Some(form),
            Past::Unsure => None,
        }
    }
}

impl Resume {
    pub(crate) fn new(memo: Memo) -> Resume {
        Resume(memo)
    }

    /// `form` of `archive` is being handed out from its start.
    pub(crate) fn began(&self, archive: &[u8; 32], client: Option<IpAddr>, form: Form) {
        let past = match self.past(archive, client) {
            Some(Past::Unsure) => Past::Unsure,
            Some(Past::Given(before)) if before != form => Past::Unsure,
            _ => Past::Given(form),
        };
        if client.is_some() {
            self.0.insert(of(archive, None), Past::Given(form).number());
        }
        self.0.insert(of(archive, client), past.number());
    }

    /// `client` is told length and tag of `archive` in `form`. Nobody else goes by that.
    pub(crate) fn told(&self, archive: &[u8; 32], client: Option<IpAddr>, form: Form) {
        if !matches!(self.past(archive, client), Some(Past::Given(_) | Past::Unsure)) {
            self.0.insert(of(archive, client), Past::Told(form).number());
        }
    }

    /// `client` is given a range of `archive` in `form`, and does not say what it has begun with. If that is not
    /// what it is known to have, it begins with this: the ranges that it asks for next have to fit this one.
    pub(crate) fn went_on(&self, archive: &[u8; 32], client: Option<IpAddr>, form: Form) {
        if self.past(archive, client).and_then(Past::form) != Some(form) {
            self.began(archive, client, form);
        }
    }

    /// The layout that `client` has to be taken to continue.
    pub(crate) fn continued(&self, archive: &[u8; 32], client: Option<IpAddr>) -> Option<Form> {
        self.past(archive, client).or_else(|| self.past(archive, None))?.form()
    }

    fn past(&self, archive: &[u8; 32], client: Option<IpAddr>) -> Option<Past> {
        self.0.get(of(archive, client)).and_then(Past::of)
    }
}

/// Whether a bare `Range` goes on somewhere, and so presumes a layout: it names a position other than the
/// start. A range from the start or a suffix (`-500`) does not: whoever asks for these need not have anything.
pub(crate) fn presumes(headers: &HeaderMap) -> bool {
    headers.get_all(RANGE).iter().any(|line| {
        let Some((unit, set)) = line.as_bytes().split_at_checked(b"bytes=".len()) else { return false };
        let from_inside = |spec: &[u8]| {
            let first = spec.split(|byte| *byte == b'-').next().unwrap_or_default();
            first.iter().any(|byte| matches!(byte, b'1'..=b'9'))
        };
        unit.eq_ignore_ascii_case(b"bytes=") && set.split(|byte| *byte == b',').any(from_inside)
    })
}

/// The key of a client, or of anyone.
fn of(archive: &[u8; 32], client: Option<IpAddr>) -> Fingerprint {
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
        let open = || Resume::new(Memo::open(temp.path(), "layouts", CAPACITY).unwrap());
        let resume = open();
        let (archive, other) = ([1; 32], [2; 32]);
        assert_eq!(resume.continued(&archive, client(1)), None);
        resume.began(&archive, client(1), Form::Streamed);
        resume.began(&archive, client(2), Form::Stored);
        // Going on is no news.
        resume.went_on(&archive, client(1), Form::Streamed);
        let again = open();
        for resume in [&resume, &again] {
            assert_eq!(resume.continued(&archive, client(1)), Some(Form::Streamed));
            assert_eq!(resume.continued(&archive, client(2)), Some(Form::Stored));
            assert_eq!(resume.continued(&archive, client(3)), Some(Form::Stored));
            assert_eq!(resume.continued(&archive, None), Some(Form::Stored));
            assert_eq!(resume.continued(&other, client(1)), None);
        }
        resume.went_on(&other, client(1), Form::Streamed);
        assert_eq!(resume.continued(&other, client(1)), Some(Form::Streamed));
    }

    #[test]
    fn what_was_told_is_for_whoever_was_told_and_counts_less_than_bytes() {
        let resume = Resume::new(Memo::in_memory(CAPACITY));
        let archive = [1; 32];
        resume.told(&archive, client(1), Form::Streamed);
        assert_eq!(resume.continued(&archive, client(1)), Some(Form::Streamed));
        assert_eq!(resume.continued(&archive, client(2)), None);
        resume.went_on(&archive, client(1), Form::Streamed);
        resume.told(&archive, client(1), Form::Stored);
        assert_eq!(resume.continued(&archive, client(1)), Some(Form::Stored));
        // What was only told may be left for the other layout.
        resume.began(&archive, client(1), Form::Streamed);
        resume.told(&archive, client(1), Form::Stored);
        assert_eq!(resume.continued(&archive, client(1)), Some(Form::Streamed));
    }

    #[test]
    fn one_address_that_was_given_both_layouts_cannot_be_known_to_continue_either() {
        let temp = tempfile::tempdir().unwrap();
        let open = || Resume::new(Memo::open(temp.path(), "layouts", CAPACITY).unwrap());
        let resume = open();
        let archive = [1; 32];
        for (this, forms) in [
            (client(1), [Form::Streamed, Form::Stored]),
            (client(2), [Form::Stored, Form::Streamed]),
            (None, [Form::Streamed, Form::Stored]),
        ] {
            let archive = if this.is_none() { [3; 32] } else { archive };
            for form in forms {
                resume.began(&archive, this, form);
            }
            assert_eq!(resume.continued(&archive, this), None);
            // Nothing that one of them does says what the others have.
            for form in forms {
                resume.began(&archive, this, form);
                resume.told(&archive, this, form);
                resume.went_on(&archive, this, form);
                assert_eq!(resume.continued(&archive, this), None, "{this:?}");
            }
            assert_eq!(open().continued(&archive, this), None, "{this:?}");
        }
        // Others are not concerned, nor are other archives.
        assert_eq!(resume.continued(&archive, client(3)), Some(Form::Streamed));
        assert_eq!(resume.continued(&[2; 32], client(1)), None);
        resume.began(&[2; 32], client(1), Form::Streamed);
        assert_eq!(resume.continued(&[2; 32], client(1)), Some(Form::Streamed));
    }

    #[test]
    fn a_position_other_than_the_start_presumes_a_layout() {
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
            assert!(!presumes(&headers));
            headers.insert(RANGE, HeaderValue::from_str(range).unwrap());
            assert_eq!(presumes(&headers), presuming, "{range}");
        }
    }
}
