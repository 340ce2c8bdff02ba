//! The fields of an encoded message, for who does not need all of it decoded.

use bytes::Buf as _;
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// A field's value, as far as anybody here wants it.
pub(in crate::grpc) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Visits the fields of an encoded message.
pub(in crate::grpc) fn fields<'a>(
    mut message: &'a [u8],
    mut visit: impl FnMut(u32, Field<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    while message.has_remaining() {
        let (field, wire_type) = decode_key(&mut message)?;
        let value = match wire_type {
            WireType::Varint => Field::Number(decode_varint(&mut message)?),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut message)?).unwrap_or(usize::MAX);
                let Some((bytes, rest)) = message.split_at_checked(length) else {
                    #[expect(deprecated, reason = "prost has no other way to make its error")]
                    return Err(DecodeError::new("buffer underflow"));
                };
                message = rest;
                Field::Bytes(bytes)
            }
            WireType::SixtyFourBit | WireType::ThirtyTwoBit | WireType::StartGroup | WireType::EndGroup => {
                skip_field(wire_type, field, &mut message, DecodeContext::default())?;
                Field::Other
            }
        };
        visit(field, value)?;
    }
    Ok(())
}
