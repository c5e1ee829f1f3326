//! What the write side is to reach.

use super::domain_lines::DOMAIN_LINES;
use super::durable::{COMMANDS_DURABLE, LOG};
use super::hot::COMMANDS_HOT;
use super::memory::COMMANDS_MEMORY;
use super::processes::PROCESS_STEPS;
use crate::targets::{Against, Target, at_least, at_most};

pub(super) const TARGETS: [Target; 6] = [
    at_least(COMMANDS_MEMORY, Against::Fixed, 5e5),
    at_least(COMMANDS_DURABLE, Against::Fixed, 1e5),
    at_least(COMMANDS_DURABLE, Against::One(LOG), 0.5),
    at_least(COMMANDS_HOT, Against::Fixed, 2e4),
    at_least(PROCESS_STEPS, Against::Fixed, 2e4),
    at_most(DOMAIN_LINES, Against::Fixed, 55.0),
];
