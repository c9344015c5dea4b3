//! Which layout of an archive a client began with.
//!
//! An archive has two layouts: one for the time before all CRC-32s are known, and a better one for the
//! time after. A client that names the ETag it began with (`If-Range`, `If-Match`) tells by itself which
//! one to continue. `curl -C -` and `wget -c` do not: they send a bare `Range`, and would append the one
//! layout's tail to the other's head if the CRC-32s became known in between. So it is remembered, across
//! restarts, which layout each client address was given last from the start. For an address that is not
//! known (it may have changed with the network) the layout that was last given to anyone is the best guess.

use std::net::IpAddr;

use outflow_store::{Key, Memo};
use outflow_zip::Form;

/// How many pairs of client and archive are remembered; 20 bytes on disk and about 40 in memory each.
pub(crate) const CAPACITY: usize = 100_000;

/// Remembers which layout of which archive was handed out to whom.
pub(crate) struct Resume(Memo);

impl Resume {
    pub(crate) fn new(memo: Memo) -> Resume {
        Resume(memo)
    }

    /// `form` of `archive` is being handed out from its start.
    pub(crate) fn began(&self, archive: &[u8; 32], client: Option<IpAddr>, form: Form) {
        let number = if form == Form::Stored { 1 } else { 2 };
        if let Some(client) = client {
            self.0.insert(of_client(archive, client), number);
        }
        self.0.insert(of_anyone(archive), number);
    }

    /// `client` is given a range of `archive` in `form`, and does not say what it has begun with. If nobody
    /// knows, it is this form from now on: the ranges that it asks for next have to fit this one.
    pub(crate) fn went_on(&self, archive: &[u8; 32], client: Option<IpAddr>, form: Form) {
        let known = client.map_or_else(|| of_anyone(archive), |client| of_client(archive, client));
        if self.0.get(known).is_none() {
            self.began(archive, client, form);
        }
    }

    /// The layout that `client` has to be taken to continue.
    pub(crate) fn continued(&self, archive: &[u8; 32], client: Option<IpAddr>) -> Option<Form> {
        let own = client.and_then(|client| self.0.get(of_client(archive, client)));
        match own.or_else(|| self.0.get(of_anyone(archive)))? {
            1 => Some(Form::Stored),
            2 => Some(Form::Streamed),
            _ => None,
        }
    }
}

fn of_client(archive: &[u8; 32], client: IpAddr) -> Key {
    match client.to_canonical() {
        IpAddr::V4(client) => Key::of(&[archive, &client.octets()]),
        IpAddr::V6(client) => Key::of(&[archive, &client.octets()]),
    }
}

fn of_anyone(archive: &[u8; 32]) -> Key {
    Key::of(&[archive, b"anyone"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_continues_what_it_began() {
        let temp = tempfile::tempdir().unwrap();
        let open = || Resume::new(Memo::open(temp.path(), "layouts", CAPACITY).unwrap());
        let resume = open();
        let (archive, other) = ([1; 32], [2; 32]);
        let client = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
        assert_eq!(resume.continued(&archive, client(1)), None);
        resume.began(&archive, client(1), Form::Streamed);
        resume.began(&archive, client(2), Form::Stored);
        // Whoever has begun with something is not taken to go on with something else.
        resume.went_on(&archive, client(1), Form::Stored);
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
}
