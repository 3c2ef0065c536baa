//! `%START_TIME(…)%`: strftime with Envoy's fractions of a second.

/// Envoy's own format, where none is given.
const DEFAULT: &str = "%Y-%m-%dT%H:%M:%E3SZ";

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A point of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time {
    /// Since 1970 UTC.
    pub nanoseconds: u64,
    /// What one unit of the last digit is.
    pub resolution: u64,
}

/// How a time is written.
#[derive(Clone, Debug)]
pub(super) struct TimeFormat {
    items: Vec<Item>,
    /// Local time without a zone: what it says cannot be known.
    unknown_zone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Literal(char),
    Year,
    /// Without the century.
    YearOfCentury,
    Month,
    MonthName,
    Day,
    DayOfYear,
    Weekday,
    Hour,
    Hour12,
    Minute,
    Second,
    /// Digits of the fraction: as many, or any number.
    Fraction(Option<u8>),
    Epoch,
    HalfOfDay,
    /// +hhmm or +hh:mm
    Offset,
    ZoneName,
}

impl TimeFormat {
    /// Compiles a format.
    pub fn new(format: Option<&str>, local: bool) -> Result<TimeFormat, String> {
        let mut items = Vec::new();
        let format = format.map(str::trim).filter(|format| !format.is_empty()).unwrap_or(DEFAULT);
        compile(format, &mut items)?;
        let has = |item| items.contains(&item);
        let unknown_zone = local && !has(Item::Offset) && !has(Item::Epoch);
        Ok(TimeFormat { items, unknown_zone })
    }

    /// Reads a time at the start of a text: how long it is, and what it says, if that is a point of time.
    pub fn read(&self, text: &[u8]) -> Option<(usize, Option<Time>)> {
        let mut rest = text;
        let mut parts = Parts::default();
        for item in &self.items {
            rest = item.read(rest, &mut parts)?;
        }
        let time = if self.unknown_zone { None } else { parts.time() };
        Some((text.len() - rest.len(), time))
    }
}

fn compile(format: &str, items: &mut Vec<Item>) -> Result<(), String> {
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            items.push(Item::Literal(c));
            continue;
        }
        let specifier = rest.next().ok_or("it ends with %")?;
        match specifier {
            'Y' => items.push(Item::Year),
            'y' => items.push(Item::YearOfCentury),
            'm' => items.push(Item::Month),
            'b' | 'B' | 'h' => items.push(Item::MonthName),
            'd' | 'e' => items.push(Item::Day),
            'j' => items.push(Item::DayOfYear),
            'a' | 'A' => items.push(Item::Weekday),
            'H' | 'k' => items.push(Item::Hour),
            'I' | 'l' => items.push(Item::Hour12),
            'M' => items.push(Item::Minute),
            'S' => items.push(Item::Second),
            's' => items.push(Item::Epoch),
            'p' => items.push(Item::HalfOfDay),
            'z' => items.push(Item::Offset),
            'Z' => items.push(Item::ZoneName),
            'f' => items.push(Item::Fraction(Some(9))),
            'F' => compile("%Y-%m-%d", items)?,
            'T' => compile("%H:%M:%S", items)?,
            'D' => compile("%m/%d/%y", items)?,
            'R' => compile("%H:%M", items)?,
            'c' => compile("%a %b %e %H:%M:%S %Y", items)?,
            't' => items.push(Item::Literal('\t')),
            '%' => items.push(Item::Literal('%')),
            '1'..='9' => match (rest.next(), specifier.to_digit(10)) {
                (Some('f'), Some(digits)) => items.push(Item::Fraction(Some(digits as u8))),
                _ => return Err(format!("%{specifier} is not followed by f")),
            },
            'E' => extended(&mut rest, items)?,
            _ => return Err(format!("%{specifier} is not understood in a time")),
        }
        if items.len() > 256 {
            return Err("longer than a time".to_owned());
        }
    }
    Ok(())
}

/// Behind `%E`: `4Y`, `z`, `3S`, `*S`, `3f`, `*f`, `T` as absl's FormatTime has them.
fn extended(rest: &mut std::str::Chars<'_>, items: &mut Vec<Item>) -> Result<(), String> {
    match (rest.next(), rest.clone().next()) {
        (Some('z'), _) => items.push(Item::Offset),
        (Some('T'), _) => items.push(Item::Literal('T')),
        (Some('4'), Some('Y')) => {
            rest.next();
            items.push(Item::Year);
        }
        (Some(digits @ ('*' | '0'..='9')), Some(unit @ ('S' | 'f'))) => {
            rest.next();
            if unit == 'S' {
                items.push(Item::Second);
            }
            match digits.to_digit(10) {
                Some(0) => {}
                digits => {
                    if unit == 'S' {
                        items.push(Item::Literal('.'));
                    }
                    items.push(Item::Fraction(digits.map(|digits| digits as u8)));
                }
            }
        }
        _ => return Err("%E is not followed by 4Y, z, T, or digits and S or f".to_owned()),
    }
    Ok(())
}

/// What the parts of a time say.
#[derive(Default)]
struct Parts {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: Option<i64>,
    afternoon: Option<bool>,
    minute: i64,
    second: Option<i64>,
    epoch: Option<i64>,
    fraction: i64,
    digits: u32,
    /// Seconds east of UTC.
    offset: i64,
}

impl Item {
    /// Reads the item at the start of a text; what is behind it.
    fn read<'a>(self, text: &'a [u8], parts: &mut Parts) -> Option<&'a [u8]> {
        let mut rest = text;
        match self {
            Item::Literal(c) => {
                let mut octets = [0; 4];
                rest = text.strip_prefix(c.encode_utf8(&mut octets).as_bytes())?;
            }
            Item::Year => parts.year = Some(number(&mut rest, 4, 4)?),
            Item::YearOfCentury => {
                let year = number(&mut rest, 2, 2)?;
                // POSIX: 69 to 99 are of the last century.
                parts.year = Some(if year < 69 { 2000 + year } else { 1900 + year });
            }
            Item::Month => parts.month = Some(number(&mut rest, 2, 2)?),
            Item::MonthName => parts.month = Some(1 + name(&mut rest, &MONTHS)? as i64),
            Item::Day => parts.day = Some(padded(&mut rest)?),
            Item::DayOfYear => parts.day_of_year = Some(number(&mut rest, 3, 3)?),
            Item::Weekday => {
                name(&mut rest, &DAYS)?;
            }
            Item::Hour => parts.hour = Some(padded(&mut rest)?),
            Item::Hour12 => parts.hour = Some(padded(&mut rest)? % 12),
            Item::Minute => parts.minute = number(&mut rest, 2, 2)?,
            Item::Second => parts.second = Some(number(&mut rest, 2, 2)?),
            Item::Epoch => parts.epoch = Some(number(&mut rest, 1, 11)?),
            Item::Fraction(digits) => {
                let (least, most) = digits.map_or((1, 15), |digits| (usize::from(digits), usize::from(digits)));
                let value = number(&mut rest, least, most)?;
                let digits = (text.len() - rest.len()) as u32;
                let scale = |by: u32| 10_i64.pow(by);
                parts.fraction = if digits <= 9 { value * scale(9 - digits) } else { value / scale(digits - 9) };
                parts.digits = digits.min(9);
            }
            Item::HalfOfDay => parts.afternoon = Some(name(&mut rest, &["AM", "PM"])? == 1),
            Item::Offset => {
                let east = match *rest.first()? {
                    b'+' => 1,
                    b'-' => -1,
                    _ => return None,
                };
                rest = &rest[1..];
                let hours = number(&mut rest, 2, 2)?;
                rest = rest.strip_prefix(b":").unwrap_or(rest);
                parts.offset = east * (hours * 3600 + number(&mut rest, 2, 2)? * 60);
            }
            Item::ZoneName => {
                let letters = rest.iter().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-')).count();
                rest = (letters > 0).then(|| &rest[letters..])?;
            }
        }
        Some(rest)
    }
}

impl Parts {
    fn time(&self) -> Option<Time> {
        let seconds = match self.epoch {
            Some(epoch) => epoch,
            None => {
                let noon = if self.afternoon == Some(true) { 12 } else { 0 };
                let (hour, second) = (self.hour? + noon, self.second?);
                if hour > 23 || self.minute > 59 || second > 60 {
                    return None;
                }
                self.days()? * 86_400 + hour * 3600 + self.minute * 60 + second - self.offset
            }
        };
        let nanoseconds = seconds.checked_mul(1_000_000_000)?.checked_add(self.fraction)?.try_into().ok()?;
        Some(Time { nanoseconds, resolution: 10_u64.pow(9 - self.digits) })
    }

    /// Days since 1970-01-01, in the Gregorian calendar.
    fn days(&self) -> Option<i64> {
        let year = self.year?;
        let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let before = |year: i64| (year - 1) * 365 + (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
        let first = before(year) - before(1970);
        if let Some(day) = self.day_of_year {
            return (1..=366).contains(&day).then_some(first + day - 1);
        }
        let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let month = usize::try_from(self.month? - 1).ok()?;
        let day = self.day?;
        let length = *lengths.get(month)?;
        (1..=length).contains(&day).then(|| first + lengths[..month].iter().sum::<i64>() + day - 1)
    }
}

/// A number of at least and at most so many digits.
fn number(rest: &mut &[u8], least: usize, most: usize) -> Option<i64> {
    let digits = rest.iter().take(most).take_while(|c| c.is_ascii_digit()).count();
    let (value, after) = rest.split_at_checked(digits).filter(|_| digits >= least)?;
    *rest = after;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Two digits, or a space and one.
fn padded(rest: &mut &[u8]) -> Option<i64> {
    match rest.strip_prefix(b" ") {
        Some(after) => {
            *rest = after;
            number(rest, 1, 1)
        }
        None => number(rest, 2, 2),
    }
}

/// One of some names, in full or its first three letters.
fn name(rest: &mut &[u8], names: &[&str]) -> Option<usize> {
    let starts = |with: &str| rest.get(..with.len()).is_some_and(|text| text.eq_ignore_ascii_case(with.as_bytes()));
    let short = |name: &str| name.len().min(3);
    let (number, len) = names.iter().enumerate().find_map(|(number, name)| {
        if starts(name) {
            Some((number, name.len()))
        } else {
            starts(&name[..short(name)]).then_some((number, short(name)))
        }
    })?;
    *rest = &rest[len..];
    Some(number)
}
