//! What each stage may cost: instructions a packet, of `Mixed` traffic unless it says otherwise.

/// How much more than its budget a stage may take, in percent: what hashing, threads and the compiler vary by.
pub const TOLERANCE: u64 = 5;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Stage {
    /// Records of pcap files
    Read,
    /// Headers
    Decode,
    /// Fingerprints, and who else showed them
    Duplicates,
    /// Conversations and legs
    Pair,
    /// What ties need of the data
    Observe,
    /// Addresses of a redirected packet
    Rewrite,
    /// Partial checksums
    Checksum,
    /// Blocks of the output
    Encode,
    /// The command, all of its threads, both passes
    Merge,
    /// The same over messages of a few octets
    MergeSmall,
}

impl Stage {
    /// The budget: what it took when it was last made faster, or had to do more. What takes less is to be put here.
    pub fn budget(self) -> u64 {
        match self {
            Stage::Read => 86,
            Stage::Decode => 155,
            Stage::Duplicates => 275,
            Stage::Pair => 775,
            Stage::Observe => 690,
            Stage::Rewrite => 470,
            Stage::Checksum => 195,
            Stage::Encode => 372,
            Stage::Merge => 4_770,
            Stage::MergeSmall => 3_840,
        }
    }
}
