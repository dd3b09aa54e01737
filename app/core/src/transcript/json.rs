//! Just enough JSON to read transcripts: checks a text byte for byte, and hands out the few fields asked for.
//!
//! `serde_json` cannot be used here, because what it refuses must not cost a line its tokens: keys that occur twice
//! (the last one counts), numbers beyond any type, half surrogate pairs, strings that are not UTF-8. And nearly all
//! bytes of a transcript are strings nobody asks for, which this passes at the speed of `memchr`.
//! What is JSON and what is not is still RFC 8259's; the tests compare the two. Knows nothing of transcripts.

use std::borrow::Cow;

use wide::u8x16;

use crate::record::RejectReason;
use crate::time::Timestamp;

/// Deepest nesting accepted. Far beyond any real line, and few enough for the stack of a WASM page.
const MAX_DEPTH: u32 = 127;

/// The text of one JSON value, already checked. A missing field is the same as `null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value<'a>(&'a [u8]);

/// What a count says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// Nothing: missing or null.
    Absent,
    /// An integer from 0 to 2^53 − 1.
    Is(u64),
    /// Anything else.
    Bad,
}

impl<'a> Value<'a> {
    pub(super) const NULL: Self = Self(b"null");

    pub(super) fn is_null(self) -> bool {
        self.0 == b"null"
    }

    pub(super) fn is_true(self) -> bool {
        self.0 == b"true"
    }

    pub(super) fn is_array(self) -> bool {
        self.0.first() == Some(&b'[')
    }

    /// Its text as it stands there.
    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn is_false(self) -> bool {
        self.0 == b"false"
    }

    pub(super) fn is_object(self) -> bool {
        self.0.first() == Some(&b'{')
    }

    /// The string, if it is one; bytes that are not Unicode read as U+FFFD.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        match self.0 {
            [b'"', inner @ .., b'"'] => Some(unescape(inner)),
            _ => None,
        }
    }

    /// The string, if it is one and not empty: what every id has to be.
    pub(super) fn id(self) -> Option<Cow<'a, str>> {
        self.text().filter(|text| !text.is_empty())
    }

    /// Whether it is the string that says this. One with bytes that are not Unicode never is.
    pub(super) fn is_text(self, text: &str) -> bool {
        let [b'"', inner @ .., b'"'] = self.0 else { return false };
        // What has an escape in it is longer than what it says.
        (inner == text.as_bytes() && !text.contains('\\'))
            || (inner.len() > text.len() && inner.contains(&b'\\') && unescape(inner) == text)
    }

    pub(super) fn count(self) -> Count {
        const MAX: i64 = (1 << 53) - 1;
        if self.is_null() {
            return Count::Absent;
        }
        // As i64, because `-0` is an integer, and so is zero.
        match std::str::from_utf8(self.0).ok().and_then(|text| text.parse::<i64>().ok()) {
            Some(number @ 0..=MAX) => Count::Is(number.unsigned_abs()),
            _ => Count::Bad,
        }
    }

    /// The number, if it is one and finite.
    pub(super) fn number(self) -> Option<f64> {
        std::str::from_utf8(self.0).ok()?.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// The instant, if it is the text of one.
    pub(super) fn timestamp(self) -> Option<Timestamp> {
        Timestamp::parse(&self.text()?)
    }

    /// The instant, if it is a number: seconds since 1970.
    pub(super) fn epoch_seconds(self) -> Option<Timestamp> {
        // Saturates, and a timestamp is kept within its years: a wild number becomes a wild date, never a panic.
        #[expect(clippy::cast_possible_truncation)]
        self.number().map(|seconds| Timestamp::from_unix_ms((seconds * 1000.0) as i64))
    }

    /// How many bytes it takes in the text, quotes not counted; `None` if it is null.
    pub(super) fn size(self) -> Option<u64> {
        let quotes = if self.0.first() == Some(&b'"') { 2 } else { 0 };
        (!self.is_null()).then_some((self.0.len() - quotes) as u64)
    }

    /// Its text as it stands there, escapes and all, if it is a string.
    pub(super) fn raw_text(self) -> Option<&'a [u8]> {
        self.0.strip_prefix(b"\"")?.strip_suffix(b"\"")
    }

    /// Hands out the fields of these names of each object in an array; nothing if it is no array.
    pub(super) fn each_object<const N: usize>(self, names: &[&str; N], mut object: impl FnMut([Self; N])) {
        let mut scanner = Scanner { bytes: self.0, at: 0 };
        // It has been checked, so an error only ends a value that is no array.
        let _ = scanner.each_element(1, |scanner| {
            if scanner.peek() != Some(b'{') {
                return scanner.value(2);
            }
            object(scanner.object(2, names)?);
            Ok(())
        });
    }

    /// The members of an object, with their names, but no more than `most`; none if it is no object.
    pub(super) fn members(self, most: usize) -> Vec<(Cow<'a, str>, Self)> {
        let mut members = Vec::new();
        let mut scanner = Scanner { bytes: self.0, at: 0 };
        // It has been checked, so an error only ends a value that is no object.
        let _ = scanner.each_member(1, |scanner, key| {
            let value = scanner.take_value(2)?;
            if members.len() < most {
                members.push((unescape(key.text), value));
            }
            Ok(())
        });
        members
    }

    /// What is read of an object; nothing if it is none.
    pub(super) fn read<O: Members<'a>>(self) -> O {
        let mut object = O::default();
        // It has been checked.
        let _ = Scanner { bytes: self.0, at: 0 }.fill(1, &mut object);
        object
    }

    /// The fields of these names, `null` where missing, and all of them `null` if it is no object.
    pub(super) fn fields<const N: usize>(self, names: &[&str; N]) -> [Self; N] {
        Scanner { bytes: self.0, at: 0 }.object(1, names).unwrap_or([Self::NULL; N])
    }
}

/// A text that is one JSON object and nothing else.
pub(super) fn document(text: &[u8]) -> Option<Value<'_>> {
    let mut scanner = Scanner { bytes: text, at: 0 };
    let value = scanner.take_value(1).ok()?;
    (value.is_object() && scanner.peek().is_none()).then_some(value)
}

/// What is read of an object: it passes each member in turn, and keeps what it wants; of equal names the last.
pub(super) trait Members<'a>: Default {
    /// Passes the value of the member with this key; the object lies this deep.
    fn member(&mut self, key: &[u8], scanner: &mut Scanner<'a>, depth: u32) -> Checked;

    /// Takes all of the object, for what is seldom asked for.
    fn set_whole(&mut self, whole: Value<'a>);
}

/// The members of these names, in their order.
struct Named<'a, 'n, const N: usize> {
    names: &'n [&'n str; N],
    values: [Value<'a>; N],
}

impl<'a, const N: usize> Named<'a, '_, N> {
    fn set(&mut self, key: &[u8], value: Value<'a>) {
        // The length and the first byte tell nearly all apart.
        let same = |name: &&str| {
            let name = name.as_bytes();
            name.len() == key.len() && name.first() == key.first() && name == key
        };
        if let Some(slot) = self.names.iter().position(same) {
            self.values[slot] = value;
        }
    }
}

/// Reads a text that must be nothing but JSON objects, back to back or with white space between.
///
/// # Errors
/// If the text is anything else, why.
pub(super) fn objects<'a, O: Members<'a>>(text: &'a [u8]) -> Result<Vec<O>, RejectReason> {
    let mut scanner = Scanner { bytes: text, at: 0 };
    let mut found = Vec::with_capacity(1);
    while let Some(first) = scanner.peek() {
        if first != b'{' {
            scanner.value(1)?;
            return Err(RejectReason::NotAnObject);
        }
        let mut object = O::default();
        scanner.fill(1, &mut object)?;
        found.push(object);
    }
    Ok(found)
}

/// Declares what a parser reads of an object: its fields, and the names they have in JSON; then the objects in it of
/// which it reads fields, too, so that the text is read once. What is missing is null.
macro_rules! object {
    ($(#[$meta:meta])* $visible:vis struct $object:ident {
        $($field:ident: $name:literal,)*
        $(; $($inner:ident: $inner_name:literal => $inner_type:ident,)*)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        $visible struct $object<'a> {
            $($field: $crate::transcript::json::Value<'a>,)*
            $($($inner: $inner_type<'a>,)*)?
            /// All of it, for what is seldom asked for; null if it is no object.
            #[allow(dead_code, reason = "not of every object")]
            whole: $crate::transcript::json::Value<'a>,
        }

        impl Default for $object<'_> {
            fn default() -> Self {
                let null = $crate::transcript::json::Value::NULL;
                Self { $($field: null,)* $($($inner: $inner_type::default(),)*)? whole: null }
            }
        }

        impl<'a> $crate::transcript::json::Members<'a> for $object<'a> {
            fn member(
                &mut self,
                key: &[u8],
                scanner: &mut $crate::transcript::json::Scanner<'a>,
                depth: u32,
            ) -> $crate::transcript::json::Checked {
                $(if key == $name.as_bytes() {
                    self.$field = scanner.take_value(depth + 1)?;
                    return Ok(());
                })*
                $($(if key == $inner_name.as_bytes() {
                    self.$inner = $inner_type::default();
                    return scanner.fill(depth + 1, &mut self.$inner);
                })*)?
                scanner.value(depth + 1)
            }

            fn set_whole(&mut self, whole: $crate::transcript::json::Value<'a>) {
                self.whole = whole;
            }
        }
    };
}

pub(super) use object;

/// That something is JSON, or why it is refused.
pub(super) type Checked = Result<(), RejectReason>;

const NOT_JSON: RejectReason = RejectReason::NotJson;

/// Reads a text from its beginning to its end.
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// The next byte that is not white space; `None` at the end.
    fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            // Nearly always at once.
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes the next byte that is not white space, which must be this one.
    fn take(&mut self, expected: u8) -> Checked {
        if self.peek() != Some(expected) {
            return Err(NOT_JSON);
        }
        self.at += 1;
        Ok(())
    }

    /// Passes a value of any kind, which lies this deep.
    pub(super) fn value(&mut self, depth: u32) -> Checked {
        match self.peek().ok_or(NOT_JSON)? {
            b'"' => self.string().map(drop),
            b'{' => self.each_member(depth, |scanner, _| scanner.value(depth + 1)),
            b'[' => self.each_element(depth, |scanner| scanner.value(depth + 1)),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(NOT_JSON),
        }
    }

    /// Passes a value and, if it is an object, gives it what is in it.
    pub(super) fn fill<O: Members<'a>>(&mut self, depth: u32, object: &mut O) -> Checked {
        if self.peek() != Some(b'{') {
            return self.value(depth);
        }
        let from = self.at;
        self.each_member(depth, |scanner, key| object.member(&key.plain(), scanner, depth))?;
        object.set_whole(Value(&self.bytes[from..self.at]));
        Ok(())
    }

    /// Passes an object; returns the fields of these names, the last one of each.
    fn object<const N: usize>(&mut self, depth: u32, names: &[&str; N]) -> Result<[Value<'a>; N], RejectReason> {
        let mut found = Named { names, values: [Value::NULL; N] };
        self.each_member(depth, |scanner, key| {
            let value = scanner.take_value(depth + 1)?;
            found.set(&key.plain(), value);
            Ok(())
        })?;
        Ok(found.values)
    }

    /// Passes a value, and returns it.
    pub(super) fn take_value(&mut self, depth: u32) -> Result<Value<'a>, RejectReason> {
        self.peek();
        let from = self.at;
        self.value(depth)?;
        Ok(Value(&self.bytes[from..self.at]))
    }

    /// Passes an object; `member` is given each key, and passes the value.
    fn each_member(&mut self, depth: u32, mut member: impl FnMut(&mut Self, Key<'a>) -> Checked) -> Checked {
        self.take(b'{')?;
        if depth > MAX_DEPTH {
            return Err(RejectReason::TooDeep);
        }
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(NOT_JSON);
            }
            let from = self.at + 1;
            let escaped = self.string()?;
            let key = Key { text: &self.bytes[from..self.at - 1], escaped };
            self.take(b':')?;
            member(self, key)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => break self.take(b'}'),
            }
        }
    }

    /// Passes an array; `element` passes each element.
    fn each_element(&mut self, depth: u32, mut element: impl FnMut(&mut Self) -> Checked) -> Checked {
        self.take(b'[')?;
        if depth > MAX_DEPTH {
            return Err(RejectReason::TooDeep);
        }
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            element(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => break self.take(b']'),
            }
        }
    }

    fn literal(&mut self, word: &[u8]) -> Checked {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(NOT_JSON);
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Checked {
        self.skip_one_of(b"-");
        if !self.skip_one_of(b"0") {
            self.digits()?;
        }
        if self.skip_one_of(b".") {
            self.digits()?;
        }
        if self.skip_one_of(b"eE") {
            self.skip_one_of(b"+-");
            self.digits()?;
        }
        Ok(())
    }

    fn skip_one_of(&mut self, bytes: &[u8]) -> bool {
        let found = self.bytes.get(self.at).is_some_and(|byte| bytes.contains(byte));
        self.at += usize::from(found);
        found
    }

    /// Passes at least one digit.
    fn digits(&mut self) -> Checked {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(NOT_JSON) } else { Ok(()) }
    }

    /// Passes a string, at whose first quote it stands; whether there is an escape in it. Any bytes but control
    /// characters may be in it.
    fn string(&mut self) -> Result<bool, RejectReason> {
        let start = self.at + 1;
        // Nearly all keys end here.
        if let Some(block) = self.bytes.get(start..).and_then(<[u8]>::first_chunk) {
            let first = specials(block).trailing_zeros() as usize;
            if block.get(first) == Some(&b'"') {
                self.at = start + first + 1;
                return Ok(false);
            }
        }
        self.long_string(start)
    }

    /// The same, of a string whose first byte is at `base`. Nearly all of a transcript is such strings, so this is what
    /// reading it takes.
    #[inline(never)]
    fn long_string(&mut self, mut base: usize) -> Result<bool, RejectReason> {
        let mut escaped = false;
        loop {
            let rest = self.bytes.get(base..).unwrap_or_default();
            let mut special = match rest.first_chunk() {
                Some(block) => wide_specials(block),
                // What is missing of the last block is a quote, which then turns out not to be there.
                None => wide_specials(&padded(rest)),
            };
            let mut next = base + WIDE;
            while special != 0 {
                let within = special.trailing_zeros() as usize;
                match rest.get(within) {
                    Some(b'"') => {
                        self.at = base + within + 1;
                        return Ok(escaped);
                    }
                    Some(b'\\') => {}
                    _ => return Err(NOT_JSON),
                }
                escaped = true;
                let length = match rest.get(within + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                    Some(b'u') if hex(rest, within + 2).is_some() => 6,
                    _ => return Err(NOT_JSON),
                };
                if within + length >= WIDE {
                    next = base + within + length;
                    break;
                }
                special &= u64::MAX << (within + length);
            }
            base = next;
        }
    }
}

/// Bytes looked at at once.
const BLOCK: usize = 16;
/// The same in a long string.
const WIDE: usize = 4 * BLOCK;

/// Which bytes mean something within a string, a bit for each: quote, backslash, and those that must not be there.
fn specials(block: &[u8; BLOCK]) -> u32 {
    let bytes = u8x16::new(*block);
    let special = bytes.simd_eq(u8x16::splat(b'"'))
        | bytes.simd_eq(u8x16::splat(b'\\'))
        | bytes.min(u8x16::splat(b' ' - 1)).simd_eq(bytes);
    special.to_bitmask()
}

fn wide_specials(block: &[u8; WIDE]) -> u64 {
    let (blocks, _) = block.as_chunks();
    blocks.iter().rev().fold(0, |later, block| later << BLOCK | u64::from(specials(block)))
}

/// The end of a text as a block, filled with quotes.
fn padded(rest: &[u8]) -> [u8; WIDE] {
    let mut block = [b'"'; WIDE];
    block[..rest.len()].copy_from_slice(rest);
    block
}

/// The key of a member, as it stands in the text.
#[derive(Clone, Copy)]
struct Key<'a> {
    text: &'a [u8],
    /// Whether there is an escape in it.
    escaped: bool,
}

impl<'a> Key<'a> {
    /// What it says.
    fn plain(self) -> Cow<'a, [u8]> {
        if !self.escaped {
            return Cow::Borrowed(self.text);
        }
        match unescape(self.text) {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }
    }
}

/// The four hexadecimal digits at `at`.
fn hex(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 4)?.iter().try_fold(0, |sum, &byte| {
        let digit = char::from(byte).to_digit(16)?;
        Some(sum << 4 | u16::try_from(digit).ok()?)
    })
}

/// What a checked string says, without its quotes.
fn unescape(inner: &[u8]) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', inner) else {
        // Twice, if it is not Unicode; but nearly always it is, and then this is the faster one.
        return str::from_utf8(inner).map_or_else(|_| String::from_utf8_lossy(inner), Cow::Borrowed);
    };
    let mut text = String::from_utf8_lossy(&inner[..first]).into_owned();
    let mut rest = &inner[first..];
    while let [b'\\', escape, tail @ ..] = rest {
        rest = tail;
        match escape {
            b'b' => text.push('\u{8}'),
            b'f' => text.push('\u{c}'),
            b'n' => text.push('\n'),
            b'r' => text.push('\r'),
            b't' => text.push('\t'),
            b'u' => {
                // A run of \u escapes at once, because two may be one character.
                let mut units = Vec::new();
                let mut next = 0;
                while let Some(unit) = hex(rest, next) {
                    units.push(unit);
                    next += 4;
                    if !rest[next..].starts_with(b"\\u") {
                        break;
                    }
                    next += 2;
                }
                rest = &rest[next..];
                text.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
            }
            other => text.push(char::from(*other)),
        }
        let plain = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
        text.push_str(&String::from_utf8_lossy(&rest[..plain]));
        rest = &rest[plain..];
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    object! {
        struct Sample {
            a: "a",
        }
    }

    /// Whether the text is nothing but objects.
    pub(super) fn check(text: &[u8]) -> Result<usize, RejectReason> {
        objects::<Sample>(text).map(|found| found.len())
    }

    fn first<'a>(text: &'a str, name: &str) -> Value<'a> {
        Value(text.as_bytes()).fields(&[name])[0]
    }

    #[test]
    fn several_objects_may_share_a_line() {
        for text in [r#"{"a":1}{"a":2}"#, "{\"a\":1} \t{\"a\":2}\r"] {
            let found = objects::<Sample>(text.as_bytes()).unwrap();
            assert_eq!(found.iter().map(|object| object.a.count()).collect::<Vec<_>>(), [Count::Is(1), Count::Is(2)]);
        }
        assert_eq!(check(br#"{"a":1},{"a":2}"#), Err(RejectReason::NotJson));
        assert_eq!(check(br#"{"a":1}{"a":2"#), Err(RejectReason::NotJson));
    }

    #[test]
    fn the_last_of_equal_keys_counts_however_it_is_written() {
        assert_eq!(first(r#"{"a":1,"\u0061":2}"#, "a").count(), Count::Is(2));
        assert!(first(r#"{"a":1,"a":null}"#, "a").is_null());
    }

    #[test]
    fn members_have_names() {
        let value = first(r#"{"o":{"a":1,"\u0062":{"c":[2]},"d":null}}"#, "o");
        let names = |most| value.members(most).into_iter().map(|(name, _)| name.into_owned()).collect::<Vec<_>>();
        assert_eq!(names(9), ["a", "b", "d"]);
        assert_eq!(names(2), ["a", "b"]);
        assert!(first(r#"{"o":[1]}"#, "o").members(9).is_empty());
    }

    #[test]
    fn objects_in_an_array_and_sizes() {
        let value = first(r#"{"a":[1, {"b":"t\n","c":[ 2]} ,"{}",[{"b":1}],{},{"b":7,"c":null}]}"#, "a");
        let mut found = Vec::new();
        value.each_object(&["b", "c"], |[b, c]| found.push((b.size(), b.raw_text(), c.size())));
        let text: Option<&[u8]> = Some(br"t\n");
        assert_eq!(found, [(Some(3), text, Some(4)), (None, None, None), (Some(1), None, None)]);
        for other in [r#"{"a":"[{}]"}"#, r#"{"a":[]}"#, r#"{"a":{"b":{}}}"#, r#"{"a":7}"#] {
            first(other, "a").each_object(&["b"], |_| panic!("no objects in {other}"));
        }
    }

    #[test]
    fn counts_are_integers_below_two_to_the_fifty_third() {
        for (text, count) in [
            ("null", Count::Absent),
            ("0", Count::Is(0)),
            ("-0", Count::Is(0)),
            ("9007199254740991", Count::Is((1 << 53) - 1)),
            ("9007199254740992", Count::Bad),
            ("99999999999999999999999999", Count::Bad),
            ("1e400", Count::Bad),
            ("1.0", Count::Bad),
            ("1e2", Count::Bad),
            ("-1", Count::Bad),
            ("true", Count::Bad),
            ("\"7\"", Count::Bad),
            ("[7]", Count::Bad),
        ] {
            assert_eq!(first(&format!("{{\"n\":{text}}}"), "n").count(), count, "{text}");
        }
    }

    #[test]
    fn strings_are_read_whatever_is_in_them() {
        let line = b"{\"a\":\"\\ud83d\\ude00 \\ud83d \\u00e9\\n\\/\\\"\\\\ \xff\xc3\xa9\"}";
        let [Sample { a: text, .. }] = objects(line).unwrap()[..] else { panic!("one object") };
        assert_eq!(text.text().unwrap(), "😀 \u{fffd} é\n/\"\\ \u{fffd}é");
        assert_eq!(first(r#"{"a":""}"#, "a").id(), None);
        assert_eq!(first(r#"{"a":7}"#, "a").text(), None);
    }

    #[test]
    fn texts_are_compared_by_what_they_say() {
        let is = |json: &str, text: &str| first(&format!(r#"{{"a":{json}}}"#), "a").is_text(text);
        assert!(is(r#""ab""#, "ab") && is(r#""\u0061b""#, "ab") && is(r#""a\\b""#, "a\\b") && is(r#""""#, ""));
        assert!(!is(r#""a\nb""#, "a\\nb") && !is(r#""a""#, "ab") && !is(r#""abc""#, "ab") && !is("7", "7"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(check(nested(127).as_bytes()).is_ok());
        assert_eq!(check(nested(128).as_bytes()), Err(RejectReason::TooDeep));
        assert_eq!(check("[".repeat(1 << 20).as_bytes()), Err(RejectReason::TooDeep));
    }

    #[test]
    fn what_is_json_and_no_object_is_told_apart() {
        for text in ["[1]", "7", "\"text\"", "null", r#"{"a":1} true"#] {
            assert_eq!(check(text.as_bytes()), Err(RejectReason::NotAnObject), "{text}");
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    mod beside_serde_json {
        use proptest::prelude::*;
        use serde::de::IgnoredAny;

        use super::check;

        fn ours(text: &[u8]) -> bool {
            check(text).is_ok()
        }

        fn theirs(text: &[u8]) -> bool {
            let mut values = serde_json::Deserializer::from_slice(text).into_iter::<&serde_json::value::RawValue>();
            // A number, a word or a string may not be told from the object before it: ask for objects alone.
            values.all(|value| value.is_ok_and(|value| value.get().starts_with('{')))
                && serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>().all(|value| value.is_ok())
        }

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(4000))]

            #[test]
            fn accepts_what_it_accepts(text in r#"(\{"a":([-0-9.eE+truefalsn "\\\[\]{},:]|\\u[0-9aA]{3,4}){0,12}\}){1,2}"#) {
                prop_assert_eq!(ours(text.as_bytes()), theirs(text.as_bytes()));
            }

            #[test]
            fn accepts_every_document(members in prop::collection::vec((".*", any::<f64>(), ".*"), 0..4), cut in any::<prop::sample::Index>()) {
                let object: serde_json::Map<_, _> = members
                    .into_iter()
                    .map(|(key, number, text)| (key, serde_json::json!([number, {"t": text}, null, true])))
                    .collect();
                let text = serde_json::to_string(&object).unwrap();
                prop_assert!(ours(text.as_bytes()));
                let cut = &text.as_bytes()[..cut.index(text.len())];
                prop_assert_eq!(ours(cut), cut.is_empty());
            }
        }
    }
}
