//! Numbers: up to 38 decimal digits with an exponent, as DynamoDB stores them.

use std::cmp::Ordering;
use std::fmt;

/// The maximum number of significant digits.
const MAX_DIGITS: usize = 38;
/// The maximum of [`Decimal::point`]: numbers are below 10^126.
const MAX_POINT: i32 = 126;
/// The minimum of [`Decimal::point`]: the smallest positive number is 10^-130.
const MIN_POINT: i32 = -129;

/// A decimal number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// The significant digits. The first and the last one are not 0; empty for zero.
    digits: Vec<u8>,
    /// The number of digits before the decimal point; negative if zeros follow the point.
    point: i32,
}

impl Decimal {
    /// Parses a number.
    ///
    /// # Errors
    /// DynamoDB's message, if the text is not a number or has too many digits.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let not_numeric = || format!("The parameter cannot be converted to a numeric value: {text}");
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            // More digits than an i32 has are out of range in any case.
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| not_numeric())?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) || whole.len() + fraction.len() == 0 {
            return Err(not_numeric());
        }
        let digits = whole.bytes().chain(fraction.bytes()).map(|byte| byte - b'0').collect();
        let point = i32::try_from(whole.len()).unwrap_or(i32::MAX).saturating_add(exponent);
        Decimal { negative, digits, point }.trimmed().in_range()
    }

    /// Removes zeros at both ends.
    fn trimmed(mut self) -> Self {
        let leading = self.digits.iter().take_while(|digit| **digit == 0).count();
        self.digits.drain(..leading);
        self.point = self.point.saturating_sub(i32::try_from(leading).unwrap_or(i32::MAX));
        let trailing = self.digits.iter().rev().take_while(|digit| **digit == 0).count();
        self.digits.truncate(self.digits.len() - trailing);
        if self.digits.is_empty() {
            (self.negative, self.point) = (false, 0);
        }
        self
    }

    fn in_range(self) -> Result<Self, String> {
        let beyond = |direction: &str, side: &str| {
            format!("Number {direction}. Attempting to store a number with magnitude {side} than supported range")
        };
        if self.point > MAX_POINT {
            Err(beyond("overflow", "larger"))
        } else if self.point < MIN_POINT {
            Err(beyond("underflow", "smaller"))
        } else if self.digits.len() > MAX_DIGITS {
            Err("Attempting to store more than 38 significant digits in a Number".to_owned())
        } else {
            Ok(self)
        }
    }

    /// Returns the number with the opposite sign.
    pub(super) fn negated(self) -> Self {
        Decimal { negative: !self.negative && !self.digits.is_empty(), ..self }
    }

    /// Adds two numbers.
    ///
    /// # Errors
    /// DynamoDB's message, if the sum has too many digits.
    pub(super) fn plus(&self, other: &Decimal) -> Result<Self, String> {
        let places = |number: &Decimal| number.point - i32::try_from(number.digits.len()).unwrap_or(i32::MAX);
        let lowest = places(self).min(places(other));
        let highest = self.point.max(other.point) + 1;
        let spread = |number: &Decimal| -> Vec<i8> {
            let mut spread = vec![0; usize::try_from(highest - lowest).unwrap_or(0)];
            let from = usize::try_from(highest - number.point).unwrap_or(0);
            for (to, digit) in spread.iter_mut().skip(from).zip(&number.digits) {
                *to = i8::try_from(*digit).unwrap_or(0) * if number.negative { -1 } else { 1 };
            }
            spread
        };
        let mut sum: Vec<i8> = spread(self).iter().zip(spread(other)).map(|(a, b)| a + b).collect();
        let negative = sum.iter().find(|digit| **digit != 0).is_some_and(|digit| *digit < 0);
        let mut carry = 0;
        for digit in sum.iter_mut().rev() {
            let total = if negative { -*digit } else { *digit } + carry;
            *digit = total.rem_euclid(10);
            carry = total.div_euclid(10);
        }
        let digits = sum.into_iter().map(i8::unsigned_abs).collect();
        Decimal { negative, digits, point: highest }.trimmed().in_range()
    }

    /// Returns the stored size in bytes: about a byte for two digits.
    fn size(&self) -> usize {
        let whole = usize::try_from(self.point).unwrap_or(0).min(self.digits.len());
        let fraction = self.digits.len() - whole;
        whole.div_ceil(2) + fraction.div_ceil(2) + 1 + usize::from(self.negative)
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Decimal| match (number.digits.is_empty(), number.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let magnitude = || self.point.cmp(&other.point).then_with(|| self.digits.cmp(&other.digits));
        sign(self).cmp(&sign(other)).then_with(|| if self.negative { magnitude().reverse() } else { magnitude() })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Decimal {
    /// Writes the number as DynamoDB returns it: all digits, without an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.digits.is_empty() {
            return f.write_str("0");
        }
        if self.negative {
            f.write_str("-")?;
        }
        let whole = usize::try_from(self.point).unwrap_or(0);
        if whole == 0 {
            f.write_str("0.")?;
            (self.point..0).try_for_each(|_| f.write_str("0"))?;
        }
        for (n, digit) in self.digits.iter().enumerate() {
            if n == whole && n > 0 {
                f.write_str(".")?;
            }
            write!(f, "{digit}")?;
        }
        (self.digits.len()..whole).try_for_each(|_| f.write_str("0"))
    }
}

/// Parses a number that is stored, or was validated.
fn stored(text: &str) -> Decimal {
    Decimal::parse(text).unwrap_or(Decimal { negative: false, digits: Vec::new(), point: 0 })
}

/// Compares two valid numbers.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    match (a.parse::<i64>(), b.parse::<i64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        _ => stored(a).cmp(&stored(b)),
    }
}

/// Returns the stored form of a number: `1.50` is stored as `1.5`. `None` if the text has this form already.
///
/// # Errors
/// DynamoDB's message, if the text is not a valid number.
pub(super) fn normalized(text: &str) -> Result<Option<String>, String> {
    let is_plain = text.len() < 19 && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if is_plain && !text.is_empty() {
        return Ok(None);
    }
    let normalized = Decimal::parse(text)?.to_string();
    Ok(Some(normalized).filter(|normalized| normalized != text))
}

/// Adds two valid numbers.
///
/// # Errors
/// DynamoDB's message, if the sum has too many digits.
pub(super) fn sum(a: &str, b: &str) -> Result<String, String> {
    Ok(stored(a).plus(&stored(b))?.to_string())
}

/// Subtracts two valid numbers.
///
/// # Errors
/// DynamoDB's message, if the difference has too many digits.
pub(super) fn difference(a: &str, b: &str) -> Result<String, String> {
    Ok(stored(a).plus(&stored(b).negated())?.to_string())
}

/// Returns the stored size of a valid number in bytes.
pub(super) fn size(text: &str) -> usize {
    stored(text).size()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_stored_with_all_digits_and_without_an_exponent() {
        for (text, stored) in [
            ("0", "0"),
            ("-0.00", "0"),
            ("+007", "7"),
            ("1.500", "1.5"),
            ("-.5", "-0.5"),
            ("1E3", "1000"),
            ("12.5e1", "125"),
            ("1.25e1", "12.5"),
            ("5e-3", "0.005"),
            ("12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
        ] {
            assert_eq!(normalized(text).unwrap().as_deref().unwrap_or(text), stored, "{text}");
        }
    }

    #[test]
    fn invalid_number_is_rejected() {
        for text in
            ["", "-", ".", "1x", "e5", "1e", "0x1", "1e126", "1e-131", "123456789012345678901234567890123456789"]
        {
            assert!(normalized(text).is_err(), "{text}");
        }
        assert!(normalized("1e125").is_ok() && normalized("1e-130").is_ok());
    }

    #[test]
    fn sums_and_differences_are_exact() {
        assert_eq!(sum("1", "2").unwrap(), "3");
        assert_eq!(sum("0.1", "0.2").unwrap(), "0.3");
        assert_eq!(sum("99.9", "0.1").unwrap(), "100");
        assert_eq!(sum("-5", "3").unwrap(), "-2");
        assert_eq!(difference("5", "5").unwrap(), "0");
        assert_eq!(difference("3", "10.5").unwrap(), "-7.5");
        assert_eq!(sum("99999999999999999999", "1").unwrap(), "100000000000000000000");
        assert!(sum("1e100", "1").is_err());
    }

    #[test]
    fn numbers_compare_by_value() {
        let ascending = ["-1e10", "-2.5", "-2", "0", "1e-10", "0.5", "1", "1.0001", "9", "10", "1e30"];
        for (n, a) in ascending.iter().enumerate() {
            for (m, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), n.cmp(&m), "{a} {b}");
            }
        }
    }

    #[test]
    fn size_is_about_a_byte_for_two_digits() {
        let sizes = [("0", 1), ("1", 2), ("42", 2), ("-42", 3), ("100", 2), ("1799999999", 6), ("0.5", 2)];
        for (text, bytes) in sizes {
            assert_eq!(size(text), bytes, "{text}");
        }
    }
}
