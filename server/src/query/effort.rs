//! What a read takes, which decides where it is done.

/// How far a read may go for what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Memory only: it never blocks.
    Memory,
    /// The disk as well.
    Disk,
}

/// What a read takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// So little that it may be done on the runtime's threads: what is wanted is told fast, and is few events of the
    /// newest blocks, which are in memory.
    Quick,
    /// More of the newest blocks: a thread for what takes a while, but at once, since whoever follows the log reads it.
    Recent,
    /// What may be long ago: it gives way.
    History(Reach),
}

impl Effort {
    /// How far the read goes.
    pub(crate) const fn reach(self) -> Reach {
        match self {
            Self::Quick | Self::Recent => Reach::Memory,
            Self::History(reach) => reach,
        }
    }
}
