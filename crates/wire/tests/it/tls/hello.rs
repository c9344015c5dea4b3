//! A ClientHello by hand, and the server's answer.

use crate::support::Running;

/// The first thing that a server says to a ClientHello.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Hello(Hello),
    /// A fatal alert's number.
    Alert(u8),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) version: u16,
    pub(super) suite: u16,
    pub(super) compression: u8,
    /// The last bytes of its random.
    pub(super) random: [u8; 8],
    pub(super) extensions: Vec<u16>,
}

/// A ClientHello (RFC 8446, 4.1.2) as old and new clients write it.
pub(super) struct Offer {
    pub(super) record: u16,
    pub(super) version: u16,
    pub(super) suites: Vec<u16>,
    pub(super) compression: Vec<u8>,
    pub(super) extensions: Vec<(u16, Vec<u8>)>,
}

impl Offer {
    /// Of TLS 1.2 and what it needs.
    pub(super) fn of(suites: &[u16]) -> Offer {
        let extensions = vec![
            // Groups: x25519, secp256r1. Points: uncompressed. Signatures: ECDSA and RSA, of all
            // ages.
            (10, vec![0, 4, 0, 29, 0, 23]),
            (11, vec![1, 0]),
            (13, vec![0, 10, 4, 3, 5, 3, 4, 1, 2, 1, 2, 3]),
        ];
        Offer { record: 0x301, version: 0x303, suites: suites.to_vec(), compression: vec![0], extensions }
    }

    /// Of TLS 1.3 and what it needs.
    pub(super) fn newer(suites: &[u16]) -> Offer {
        let mut offer = Offer::of(suites);
        offer.extensions.push((43, vec![2, 3, 4]));
        offer.extensions.push((51, [&[0, 36, 0, 29, 0, 32][..], &[9; 32]].concat()));
        offer
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
        let suites: Vec<u8> = self.suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
        let extensions: Vec<u8> = self
            .extensions
            .iter()
            .flat_map(|(id, bytes)| [&id.to_be_bytes()[..], &sized(bytes)].concat())
            .collect();
        let mut hello = self.version.to_be_bytes().to_vec();
        hello.extend([5; 32]);
        hello.push(0);
        hello.extend(sized(&suites));
        hello.push(self.compression.len() as u8);
        hello.extend(&self.compression);
        hello.extend(sized(&extensions));
        let message = [&[1], &(hello.len() as u32).to_be_bytes()[1..], &hello].concat();
        [&[22], &self.record.to_be_bytes()[..], &sized(&message)].concat()
    }

    /// What the server says to it.
    pub(super) fn ask(&self, server: &Running) -> Said {
        let mut client = server.client();
        client.send(self.bytes());
        let head = client.take(5).expect("a record");
        let record = client.take(usize::from(u16::from_be_bytes([head[3], head[4]]))).expect("a record");
        match head[0] {
            21 => {
                assert_eq!(record[0], 2, "an alert that is not fatal");
                Said::Alert(record[1])
            }
            22 => {
                assert_eq!(record[0], 2, "no ServerHello");
                let word = |at: usize| u16::from_be_bytes([record[at], record[at + 1]]);
                let random = record[30..38].try_into().expect("eight bytes");
                let at = 39 + usize::from(record[38]);
                let mut extensions = Vec::new();
                let (mut version, mut next) = (word(4), at + 5);
                let end = 4 + usize::from(u16::from_be_bytes([record[2], record[3]]));
                while next < end {
                    extensions.push(word(next));
                    if word(next) == 43 {
                        version = word(next + 4);
                    }
                    next += 4 + usize::from(word(next + 2));
                }
                let (suite, compression) = (word(at), record[at + 2]);
                Said::Hello(Hello { version, suite, compression, random, extensions })
            }
            other => panic!("a record of type {other}"),
        }
    }
}
