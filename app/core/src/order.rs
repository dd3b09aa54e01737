//! Sorting the short lists a view shows.
//!
//! The standard sort is compiled anew for every type and every comparison, a few kilobytes of WASM
//! each. Here only positions are sorted, by one copy of it.

use std::cmp::Ordering;

/// Sorts `items`; equal ones keep their order.
pub fn sort<T>(items: &mut Vec<T>, compare: &dyn Fn(&T, &T) -> Ordering) {
    let positions = positions(items.len(), &|a, b| compare(&items[a], &items[b]));
    let mut taken: Vec<Option<T>> = items.drain(..).map(Some).collect();
    items.extend(positions.into_iter().filter_map(|at| taken[at].take()));
}

fn positions(len: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..len).collect();
    positions.sort_by(|&a, &b| compare(a, b));
    positions
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_order_is_that_of_the_standard_sort() {
        let mut words: Vec<String> = ["pear", "fig", "apple", "kiwi", "plum"].map(str::to_owned).into();
        let mut expected = words.clone();
        expected.sort_by_key(String::len);
        sort(&mut words, &|a, b| a.len().cmp(&b.len()));
        assert_eq!(words, expected);
        sort(&mut Vec::<u8>::new(), &u8::cmp);
    }
}
