//! What only one server knows: tokens, and the key of its digests.

use siphasher::sip128::{Hasher128 as _, SipHasher24};
use std::hash::Hasher as _;

/// What the digests are keyed with. Tokens are counted from 1.
const OF_DIGESTS: u64 = 0;

/// The secret of this number, that follows from the seed alone; and who knows some of them knows
/// neither the seed nor the others (SipHash-2-4, keyed with the seed, Aumasson and Bernstein 2012).
pub(super) fn draw([first, second]: [u64; 2], number: u64) -> [u64; 2] {
    let mut hasher = SipHasher24::new_with_keys(first, second);
    hasher.write_u64(number);
    let drawn = hasher.finish128();
    [drawn.h1, drawn.h2]
}

pub(super) fn of_digests(seed: [u64; 2]) -> [u64; 2] {
    draw(seed, OF_DIGESTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A guest had computed the server's seed, and so all tokens, from its own.
    #[test]
    fn a_token_is_no_step_from_the_seed() {
        let drawn: BTreeSet<u64> = (0..1000).flat_map(|n| draw([1, 2], n)).collect();
        assert_eq!(drawn.len(), 2000, "no two words are the same");
        assert_ne!(draw([1, 2], 7), draw([1, 3], 7));
        assert_ne!(draw([1, 2], 7), draw([2, 2], 7));
    }

    /// The reference implementation's answer for eight bytes.
    #[test]
    fn secrets_are_those_of_siphash() {
        let seed = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let drawn = draw(seed, 0x0706_0504_0302_0100);
        assert_eq!(drawn, [0x61f5_5862_baa9_623b, 0xb497_14f3_64e2_830f]);
    }
}
