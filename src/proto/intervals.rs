//! Ranges of keys, and who has them: those that hold a key are found without looking at the others.
//!
//! A balanced tree (AVL), ordered by where ranges begin; each node knows how far the ranges below it
//! reach (Cormen et al., Introduction to Algorithms, "Interval trees").

use super::interest::Key;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// From the first key on, up to the second if there is one.
type Range = (Key, Option<Key>);
type Tree<T> = Option<Box<Node<T>>>;

#[derive(Debug)]
struct Node<T> {
    range: Range,
    who: BTreeSet<T>,
    /// The end that lies furthest, of this range and of all below it. `None`: there is no end.
    reach: Option<Key>,
    /// Of the tree that begins here; a leaf has 1. It stays below 1.5 times the logarithm of the
    /// number of ranges, so recursion is shallow.
    height: u8,
    left: Tree<T>,
    right: Tree<T>,
}

/// The tree.
#[derive(Debug)]
pub struct Intervals<T> {
    root: Tree<T>,
}

impl<T> Default for Intervals<T> {
    fn default() -> Self {
        Intervals { root: None }
    }
}

impl<T: Copy + Ord> Intervals<T> {
    /// Is there no range?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Adds `who` to a range.
    pub fn insert(&mut self, from: &Key, until: Option<&Key>, who: T) {
        let range = (from.clone(), until.cloned());
        self.root = Some(insert(self.root.take(), range, who));
    }

    /// Takes `who` out of a range, and the range when nobody has it any more.
    pub fn remove(&mut self, from: &Key, until: Option<&Key>, who: T) {
        let range = (from.clone(), until.cloned());
        self.root = remove(self.root.take(), &range, who);
    }

    /// Adds all whose range holds one of `keys`, which are in order, to `found`. Gives how many
    /// ranges it looked at: never more than there are, however many the keys.
    pub fn find(&self, keys: &[&str], found: &mut BTreeSet<T>) -> usize {
        find(self.root.as_deref(), keys, found)
    }

    /// Adds everybody to `found`.
    pub fn find_all(&self, found: &mut BTreeSet<T>) {
        find_all(self.root.as_deref(), found);
    }
}

fn find<T: Copy + Ord>(tree: Option<&Node<T>>, keys: &[&str], found: &mut BTreeSet<T>) -> usize {
    let (Some(node), Some(first)) = (tree, keys.first()) else {
        return 0;
    };
    if !is_before(first, node.reach.as_ref()) {
        return 1;
    }
    // What begins further to the right holds none of the keys before this range.
    let behind = keys.partition_point(|key| **key < *node.range.0);
    let keys_behind = &keys[behind..];
    if let Some(key) = keys_behind.first()
        && is_before(key, node.range.1.as_ref())
    {
        found.extend(&node.who);
    }
    1 + find(node.left.as_deref(), keys, found) + find(node.right.as_deref(), keys_behind, found)
}

fn find_all<T: Copy + Ord>(tree: Option<&Node<T>>, found: &mut BTreeSet<T>) {
    if let Some(node) = tree {
        found.extend(&node.who);
        find_all(node.left.as_deref(), found);
        find_all(node.right.as_deref(), found);
    }
}

fn is_before(key: &str, end: Option<&Key>) -> bool {
    end.is_none_or(|end| *key < **end)
}

fn height<T>(tree: &Tree<T>) -> u8 {
    tree.as_ref().map_or(0, |node| node.height)
}

/// The end that lies further.
fn further(one: Option<Key>, other: Option<&Key>) -> Option<Key> {
    Some(one?.max(other?.clone()))
}

fn insert<T: Copy + Ord>(tree: Tree<T>, range: Range, who: T) -> Box<Node<T>> {
    let Some(mut node) = tree else {
        return Box::new(Node {
            reach: range.1.clone(),
            range,
            who: BTreeSet::from([who]),
            height: 1,
            left: None,
            right: None,
        });
    };
    match range.cmp(&node.range) {
        Ordering::Less => node.left = Some(insert(node.left.take(), range, who)),
        Ordering::Greater => node.right = Some(insert(node.right.take(), range, who)),
        Ordering::Equal => {
            node.who.insert(who);
            return node;
        }
    }
    balanced(node)
}

fn remove<T: Copy + Ord>(tree: Tree<T>, range: &Range, who: T) -> Tree<T> {
    let mut node = tree?;
    match range.cmp(&node.range) {
        Ordering::Less => node.left = remove(node.left.take(), range, who),
        Ordering::Greater => node.right = remove(node.right.take(), range, who),
        Ordering::Equal => {
            node.who.remove(&who);
            if node.who.is_empty() {
                return join(node.left, node.right);
            }
            return Some(node);
        }
    }
    Some(balanced(node))
}

/// One tree of two, all of the first before all of the second.
fn join<T>(left: Tree<T>, right: Tree<T>) -> Tree<T> {
    let Some(right) = right else {
        return left;
    };
    let (mut first, rest) = without_first(right);
    first.left = left;
    first.right = rest;
    Some(balanced(first))
}

/// The first node, and the tree without it.
fn without_first<T>(mut node: Box<Node<T>>) -> (Box<Node<T>>, Tree<T>) {
    match node.left.take() {
        Some(left) => {
            let (first, rest) = without_first(left);
            node.left = rest;
            (first, Some(balanced(node)))
        }
        None => {
            let rest = node.right.take();
            (node, rest)
        }
    }
}

/// The tree whose two sides differ in height by two at most, so that they differ by one at most.
fn balanced<T>(mut node: Box<Node<T>>) -> Box<Node<T>> {
    let (left, right) = (height(&node.left), height(&node.right));
    if left > right + 1 {
        let inner = node
            .left
            .take_if(|left| height(&left.right) > height(&left.left));
        if let Some(inner) = inner {
            node.left = Some(rotated_left(inner));
        }
        rotated_right(node)
    } else if right > left + 1 {
        let inner = node
            .right
            .take_if(|right| height(&right.left) > height(&right.right));
        if let Some(inner) = inner {
            node.right = Some(rotated_right(inner));
        }
        rotated_left(node)
    } else {
        summed(node)
    }
}

fn rotated_right<T>(mut node: Box<Node<T>>) -> Box<Node<T>> {
    let Some(mut left) = node.left.take() else {
        return summed(node);
    };
    node.left = left.right.take();
    left.right = Some(summed(node));
    summed(left)
}

fn rotated_left<T>(mut node: Box<Node<T>>) -> Box<Node<T>> {
    let Some(mut right) = node.right.take() else {
        return summed(node);
    };
    node.right = right.left.take();
    right.left = Some(summed(node));
    summed(right)
}

/// Height and reach, from what is below.
fn summed<T>(mut node: Box<Node<T>>) -> Box<Node<T>> {
    node.height = 1 + height(&node.left).max(height(&node.right));
    let sides = [&node.left, &node.right];
    let reach = sides
        .into_iter()
        .flatten()
        .fold(node.range.1.clone(), |reach, side| {
            further(reach, side.reach.as_ref())
        });
    node.reach = reach;
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(tree: Option<&Node<u8>>) -> (u8, Option<Key>, usize) {
        let Some(node) = tree else {
            return (0, Some(Key::from("")), 0);
        };
        let (left, left_reach, left_count) = check(node.left.as_deref());
        let (right, right_reach, right_count) = check(node.right.as_deref());
        assert!(left.abs_diff(right) <= 1, "one side is too high");
        assert_eq!(node.height, 1 + left.max(right));
        let reach = further(node.range.1.clone(), left_reach.as_ref());
        assert_eq!(node.reach, further(reach, right_reach.as_ref()));
        (
            node.height,
            node.reach.clone(),
            1 + left_count + right_count,
        )
    }

    fn key(number: u8) -> Key {
        Key::from(format!("{number:03}"))
    }

    proptest! {
        #[test]
        fn finds_what_a_list_finds(
            steps in prop::collection::vec((any::<bool>(), 0..20_u8, 0..24_u8, 0..4_u8), 0..150),
            mut asked in prop::collection::btree_set(0..26_u8, 0..6),
        ) {
            let mut tree = Intervals::default();
            let mut list = BTreeSet::new();
            for (adds, from, length, who) in steps {
                // Some have no end, and some end before they begin: those hold nothing.
                let until = (length < 22).then(|| key((from + length).saturating_sub(2)));
                let range = (key(from), until.clone());
                if adds {
                    tree.insert(&range.0, until.as_ref(), who);
                    list.insert((range, who));
                } else {
                    tree.remove(&range.0, until.as_ref(), who);
                    list.remove(&(range, who));
                }
                let ranges: BTreeSet<_> = list.iter().map(|(range, _)| range).collect();
                prop_assert_eq!(check(tree.root.as_deref()).2, ranges.len());
            }
            asked.insert(3);
            let keys: Vec<Key> = asked.into_iter().map(key).collect();
            let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
            let holds = |range: &Range| keys.iter().any(|key| {
                **key >= *range.0 && is_before(key, range.1.as_ref())
            });
            let expected: BTreeSet<u8> = list.iter().filter(|(range, _)| holds(range))
                .map(|(_, who)| *who).collect();
            let mut found = BTreeSet::new();
            tree.find(&keys, &mut found);
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn few_are_looked_at_for_one_key_and_none_twice_for_many() {
        let mut tree = Intervals::default();
        let name = |number: u32| Key::from(format!("{number:06}"));
        for number in 0..100_000 {
            tree.insert(&name(number), Some(&name(number + 1)), number);
        }
        let mut found = BTreeSet::new();
        assert!(tree.find(&["050000"], &mut found) < 60);
        assert_eq!(found, BTreeSet::from([50_000]));
        let keys: Vec<Key> = (0..16_000).map(name).collect();
        let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
        assert!(tree.find(&keys, &mut found) <= 100_000);
        assert_eq!(found.len(), 16_001);
    }
}
