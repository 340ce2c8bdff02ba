//! Doubles that have fewer than 64 bits in them: 32-bit floats printed as decimals, and decimals.

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// The largest scale there is: 10^22 is the last power of ten that a double holds exactly.
pub(super) const SCALE_MAX: u8 = 22;
/// The significant digits programs print by default for a double (`%.15g`).
const PRINTED_DIGITS: i32 = 15;
/// 10^-8 to 10^15.
const LIMITS: [f64; 24] = [
    1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10,
    1e11, 1e12, 1e13, 1e14, 1e15,
];
/// What 32-bit floats were multiplied with before they were printed: nothing, degrees in a radian, newton metres in
/// a foot-pound. Measured: these two, to just so many digits, make a third of the recorded values.
pub(super) const FACTORS: [f64; 3] = [1.0, 57.2958, 1.355818];
/// Encoding may multiply where decoding would divide: it compares the result.
const INVERSES: [f64; 3] = [1.0 / FACTORS[0], 1.0 / FACTORS[1], 1.0 / FACTORS[2]];
/// 2^51.
const MANTISSA_MAX: f64 = 2_251_799_813_685_248.0;

/// How many digits after the point `value` has if it is printed with 15 significant ones.
#[inline]
fn printed_scale(value: f64) -> u8 {
    let exponent = ((value.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    // log10(2) is about 1233/4096: this is the decimal exponent, or one less.
    let decimal = ((exponent * 1233) >> 12).clamp(-9, PRINTED_DIGITS - 1);
    let is_more = value.abs() >= LIMITS[(decimal + 9) as usize];
    (PRINTED_DIGITS - 1 - decimal - i32::from(is_more)).clamp(0, i32::from(SCALE_MAX)) as u8
}

/// To the nearest integer, halves away from zero, for what is below [`MANTISSA_MAX`].
#[inline]
fn round(value: f64) -> i64 {
    (value + 0.5_f64.copysign(value)) as i64
}

/// The double that one gets who multiplies a float with a factor, prints it with 15 significant digits and reads it
/// again; for most floats. Part of the format: it must give the same bits for ever. Whoever encodes compares.
#[inline]
pub(super) fn printed(narrow: f32, factor: u8) -> f64 {
    let value = f64::from(narrow) * FACTORS[usize::from(factor) % FACTORS.len()];
    let power = POWERS[usize::from(printed_scale(value))];
    round(value * power) as f64 / power
}

/// The float and the factor for which [`printed`] gives back the bits of `value`, if there are any; the factor
/// `hint` is tried first.
#[inline]
pub(super) fn to_printed(value: f64, hint: u8) -> Option<(f32, u8)> {
    let by_factor = |factor: u8| {
        let narrow = (value * INVERSES[usize::from(factor)]) as f32;
        (printed(narrow, factor).to_bits() == value.to_bits()).then_some((narrow, factor))
    };
    by_factor(hint).or_else(|| (0..FACTORS.len() as u8).filter(|factor| *factor != hint).find_map(by_factor))
}

/// The double nearest to `mantissa / 10^scale`; exact as text is if the mantissa is below 2^53. Part of the format.
#[inline]
pub(super) fn from_decimal(mantissa: i64, scale: u8) -> f64 {
    mantissa as f64 / POWERS[usize::from(scale.min(SCALE_MAX))]
}

/// The mantissa for which [`from_decimal`] gives back the bits of `value`, if there is one.
#[inline]
fn mantissa(value: f64, scale: u8) -> Option<i64> {
    let scaled = value * POWERS[usize::from(scale)];
    if scaled.abs() < MANTISSA_MAX {
        let mantissa = round(scaled);
        (from_decimal(mantissa, scale).to_bits() == value.to_bits()).then_some(mantissa)
    } else {
        None
    }
}

/// `value` as a decimal, at `hint` digits after the point if that is enough, else as short as possible.
/// `None` if it has more than 15 significant digits.
pub(super) fn to_decimal(value: f64, hint: u8) -> Option<(i64, u8)> {
    if let Some(mantissa) = mantissa(value, hint) {
        return Some((mantissa, hint));
    }
    let mut scale = printed_scale(value);
    let mut mantissa = mantissa(value, scale)?;
    while scale > 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        scale -= 1;
    }
    (from_decimal(mantissa, scale).to_bits() == value.to_bits()).then_some((mantissa, scale))
}
