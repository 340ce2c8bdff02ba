//! The log as a whole, from the outside: what it promises, on engines that fail on command and on real disks.

#![expect(clippy::unwrap_used, reason = "a test that panics fails, and that is what it is for")]

mod aggregate;
mod aggregate_damage;
mod chain;
mod closing;
mod copy;
mod crowd;
mod damage;
mod derived;
mod disk;
mod faults;
mod lags;
mod model;
mod newest;
mod power;
mod readers;
mod support;
mod verify;
