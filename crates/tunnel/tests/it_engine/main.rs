//! The tunnel's engine from outside: what goes in at one far end comes out at the other, or is known not to.

mod carry;
mod cuts;
mod session;
mod side;
mod world;
