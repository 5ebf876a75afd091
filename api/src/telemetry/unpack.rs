//! Packed bodies: gzip, deflate and zstd, never unpacked beyond a bound.

use std::io::{self, Read};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use super::{MAX_UNPACKED, Room, malformed, unsupported};
use crate::error::ApiError;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    /// With the header of zlib, as RFC 9110 has it.
    Deflate,
    Zstd,
}

impl Packing {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(packing) = headers.get(header::CONTENT_ENCODING) else { return Ok(Self::None) };
        match packing.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::None),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "deflate" => Ok(Self::Deflate),
            "zstd" => Ok(Self::Zstd),
            _ => Err(unsupported("Send the body plain or packed as gzip, deflate or zstd.")),
        }
    }

    /// The body as it was before it was packed.
    pub(super) fn unpack(self, body: Bytes, room: &Room) -> Result<Bytes, ApiError> {
        let broken = |error: io::Error| malformed(format!("The body cannot be unpacked: {error}."));
        match self {
            Self::None => Ok(body),
            Self::Gzip => drain(flate2::read::MultiGzDecoder::new(&*body), room),
            Self::Deflate => drain(flate2::read::ZlibDecoder::new(&*body), room),
            Self::Zstd => {
                let mut reader = zstd::stream::read::Decoder::with_buffer(&*body).map_err(broken)?;
                // 8 MiB: what one frame may make us remember.
                reader.window_log_max(23).map_err(broken)?;
                drain(reader, room)
            }
        }
    }
}

fn drain(mut reader: impl Read, room: &Room) -> Result<Bytes, ApiError> {
    let (mut all, mut part) = (Vec::new(), [0; 16 << 10]);
    loop {
        let length = match reader.read(&mut part) {
            Ok(0) => return Ok(all.into()),
            Ok(length) => length,
            Err(error) => return Err(malformed(format!("The body cannot be unpacked: {error}."))),
        };
        if all.len() + length > MAX_UNPACKED {
            let detail = format!("The body unpacks to more than {} MiB.", MAX_UNPACKED >> 20);
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
        }
        room.take(length)?;
        all.extend_from_slice(&part[..length]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::response::IntoResponse;
    use flate2::Compression;

    use super::*;
    use crate::telemetry::Intake;

    fn packed(bytes: &[u8]) -> [(Packing, Vec<u8>); 3] {
        let mut gzip = flate2::write::GzEncoder::new(vec![], Compression::fast());
        gzip.write_all(bytes).unwrap();
        let mut zlib = flate2::write::ZlibEncoder::new(vec![], Compression::fast());
        zlib.write_all(bytes).unwrap();
        [
            (Packing::Gzip, gzip.finish().unwrap()),
            (Packing::Deflate, zlib.finish().unwrap()),
            (Packing::Zstd, zstd::encode_all(bytes, 1).unwrap()),
        ]
    }

    fn status(packing: Packing, body: Vec<u8>) -> u16 {
        let unpacked = packing.unpack(body.into(), &Intake::default().room(None));
        unpacked.map_or_else(|error| error.into_response().status().as_u16(), |_| 200)
    }

    #[test]
    fn what_was_packed_comes_out_and_a_bomb_does_not() {
        let text = "span ".repeat(10_000);
        for (packing, body) in packed(text.as_bytes()) {
            let unpacked = packing.unpack(body.clone().into(), &Intake::default().room(None)).unwrap();
            assert_eq!(unpacked, text.as_bytes(), "{packing:?}");
            assert_eq!(status(packing, body[..body.len() - 6].to_vec()), 400, "{packing:?} cut off");
            assert_eq!(status(packing, b"no such thing".to_vec()), 400, "{packing:?}");
        }
        for (packing, bomb) in packed(&vec![0; MAX_UNPACKED + 1]) {
            assert!(bomb.len() < 200_000);
            assert_eq!(status(packing, bomb), 413, "{packing:?}");
        }
    }
}
