//! Any bytes as a request's head and chunked body: never a panic, and what was read
//! does not depend on how the bytes were cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    outflow_wire::fuzzing::head(data);
    if let [piece, rest @ ..] = data {
        outflow_wire::fuzzing::chunked(rest, usize::from(*piece));
    }
});
