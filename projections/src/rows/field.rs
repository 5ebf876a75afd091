//! Values as PostgreSQL's binary format has them: the one encoding for a row, be it copied or sent as a parameter.

use chrono::{DateTime, Utc};
use domain::build::{Peak, Phase};
use domain::deployment::DeploymentKind;
use domain::endpoint::EndpointSettings;
use domain::ids::{
    AssignmentId, BuildId, DeploymentId, EndpointId, EnvironmentId, EventId, HookId, InstallationId,
    InviteId, ProjectId, RoleId, SecretId, TeamId, TokenId, UserId,
};
use domain::policy::Scope;
use domain::ports::artifacts::Artifact;
use domain::ports::runner::BuildFailure;
use domain::project::{Availability, EnvVar, Environment, ProjectSettings, Protection, TokenScope};
use domain::push::Trigger;
use domain::role::RoleDefinition;
use domain::sealed::Sealed;
use domain::team::{InstallationStatus, MemberRole};
use domain::values::{EnvKey, HostKey};
use ipnet::IpNet;
use serde_json::Value;
use sqlx::Row as _;
use sqlx::postgres::{PgRow, PgTypeInfo};
use sqlx::types::Type;
use uuid::Uuid;

use crate::row::{Columns, stored};

/// Midnight of 2000-01-01, from which PostgreSQL counts, in microseconds of the Unix epoch.
const EPOCH: i64 = 946_684_800_000_000;

/// Length of what is null.
const NULL: i32 = -1;

/// The types of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Integer,
    Bigint,
    Text,
    /// `text[]`. PostgreSQL has no arrays of arrays: as an element of a parameter it is its literal.
    Texts,
    Timestamp,
    Uuid,
    Json,
}

impl Kind {
    /// Its name in statements.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Integer => "integer",
            Self::Bigint => "bigint",
            Self::Text => "text",
            Self::Texts => "text[]",
            Self::Timestamp => "timestamptz",
            Self::Uuid => "uuid",
            Self::Json => "jsonb",
        }
    }

    /// The type of a parameter that holds many of them, and PostgreSQL's number of its elements' type.
    pub(super) fn array(self) -> (PgTypeInfo, u32) {
        match self {
            Self::Bool => (<[bool]>::type_info(), 16),
            Self::Integer => (<[i32]>::type_info(), 23),
            Self::Bigint => (<[i64]>::type_info(), 20),
            Self::Text | Self::Texts => (<[String]>::type_info(), 25),
            Self::Timestamp => (<[DateTime<Utc>]>::type_info(), 1184),
            Self::Uuid => (<[Uuid]>::type_info(), 2950),
            Self::Json => (<[Value]>::type_info(), 3802),
        }
    }
}

/// A value of a column.
pub(crate) trait Field: Sized {
    /// The column's type.
    const KIND: Kind;

    /// Writes length and bytes, as COPY has them.
    fn write(&self, out: &mut Vec<u8>);

    /// Writes length and bytes of an element of an array.
    fn write_element(&self, out: &mut Vec<u8>) {
        self.write(out);
    }

    /// Reads it from a row.
    fn read(row: &PgRow, column: &str) -> sqlx::Result<Self>;
}

/// Writes the length of what `write` writes before it.
fn sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    write(out);
    let length =
        i32::try_from(out.len() - start - 4).expect("a value is smaller than the payload it came from");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    sized(out, |out| out.extend_from_slice(bytes));
}

/// Fields that sqlx reads as they are.
macro_rules! plain {
    ($($type:ty: $kind:ident, |$value:ident| $bytes:expr;)+) => {$(
        impl Field for $type {
            const KIND: Kind = Kind::$kind;

            fn write(&self, out: &mut Vec<u8>) {
                let $value = self;
                bytes(out, &$bytes);
            }

            fn read(row: &PgRow, column: &str) -> sqlx::Result<Self> {
                row.try_get(column)
            }
        }
    )+};
}

plain! {
    bool: Bool, |value| [u8::from(*value)];
    i32: Integer, |value| value.to_be_bytes();
    i64: Bigint, |value| value.to_be_bytes();
    String: Text, |value| value.as_bytes();
    DateTime<Utc>: Timestamp, |value| (value.timestamp_micros() - EPOCH).to_be_bytes();
    Uuid: Uuid, |value| *value.as_bytes();
}

macro_rules! ids {
    ($($type:ty),+ $(,)?) => {$(
        impl Field for $type {
            const KIND: Kind = Kind::Uuid;

            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }

            fn read(row: &PgRow, column: &str) -> sqlx::Result<Self> {
                row.id(column)
            }
        }
    )+};
}

ids! {
    AssignmentId, BuildId, DeploymentId, EndpointId, EnvironmentId, EventId, HookId, InstallationId, InviteId, ProjectId, RoleId,
    SecretId, TeamId, TokenId, UserId,
}

/// Types of the domain that are stored as their text.
macro_rules! texts {
    ($($type:ty),+ $(,)?) => {$(
        impl Field for $type {
            const KIND: Kind = Kind::Text;

            fn write(&self, out: &mut Vec<u8>) {
                bytes(out, stored(self).as_bytes());
            }

            fn read(row: &PgRow, column: &str) -> sqlx::Result<Self> {
                row.text(column)
            }
        }
    )+};
}

texts! { Availability, DeploymentKind, EnvKey, InstallationStatus, MemberRole, Phase, Protection }

/// Types of the domain that are stored as JSON.
macro_rules! jsons {
    ($($type:ty),+ $(,)?) => {$(
        impl Field for $type {
            const KIND: Kind = Kind::Json;

            fn write(&self, out: &mut Vec<u8>) {
                sized(out, |out| {
                    out.push(1); // the version of jsonb's format
                    serde_json::to_writer(out, self).expect("what was read from JSON can be written as JSON");
                });
            }

            fn read(row: &PgRow, column: &str) -> sqlx::Result<Self> {
                row.json(column)
            }
        }
    )+};
}

jsons! {
    Artifact, BuildFailure, EndpointSettings, Environment, Peak, ProjectSettings, RoleDefinition, Scope, Sealed, Trigger, Value, Vec<EnvVar>,
    Vec<HostKey>, Vec<IpNet>, Vec<TokenScope>, crate::deployments::Failure,
}

impl Field for Vec<String> {
    const KIND: Kind = Kind::Texts;

    fn write(&self, out: &mut Vec<u8>) {
        sized(out, |out| {
            array_header(out, Kind::Text, self.len());
            self.iter().for_each(|text| text.write(out));
        });
    }

    fn write_element(&self, out: &mut Vec<u8>) {
        let quoted = |text: &String| format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""));
        let literal = format!("{{{}}}", self.iter().map(quoted).collect::<Vec<_>>().join(","));
        literal.write(out);
    }

    fn read(row: &PgRow, column: &str) -> sqlx::Result<Self> {
        row.try_get(column)
    }
}

impl<T: Field> Field for Option<T> {
    const KIND: Kind = T::KIND;

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(out),
            None => out.extend(NULL.to_be_bytes()),
        }
    }

    fn write_element(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write_element(out),
            None => out.extend(NULL.to_be_bytes()),
        }
    }

    fn read(row: &PgRow, column: &str) -> sqlx::Result<Self> {
        let is_null = sqlx::ValueRef::is_null(&row.try_get_raw(column)?);
        if is_null { Ok(None) } else { T::read(row, column).map(Some) }
    }
}

/// What stands before the elements of an array of one dimension.
pub(super) fn array_header(out: &mut Vec<u8>, of: Kind, length: usize) {
    let length = i32::try_from(length).expect("rows come in batches");
    let (_, element) = of.array();
    let dimensions = i32::from(length > 0);
    let may_have_nulls = 1_i32;
    out.extend(dimensions.to_be_bytes());
    out.extend(may_have_nulls.to_be_bytes());
    out.extend(element.to_be_bytes());
    if length > 0 {
        out.extend(length.to_be_bytes());
        out.extend(1_i32.to_be_bytes()); // PostgreSQL counts from 1
    }
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgArgumentBuffer;
    use sqlx::{Encode, Postgres};

    use super::*;

    fn same<'q, T: Field + Encode<'q, Postgres>>(value: &T) {
        let (mut ours, mut theirs) = (Vec::new(), PgArgumentBuffer::default());
        value.write(&mut ours);
        assert!(!value.encode_by_ref(&mut theirs).unwrap().is_null());
        let (length, bytes) = ours.split_first_chunk::<4>().unwrap();
        assert_eq!(usize::try_from(i32::from_be_bytes(*length)).unwrap(), bytes.len());
        assert_eq!(bytes, theirs.as_slice());
    }

    #[test]
    fn values_are_written_as_sqlx_writes_them() {
        same(&true);
        same(&-7_i32);
        same(&i64::MIN);
        same(&"é\n".to_owned());
        same(&Uuid::from_u128(0x0123_4567_89ab_cdef));
        for micros in [0, 1, EPOCH - 1, EPOCH, 4_070_908_800_000_001] {
            same(&DateTime::from_timestamp_micros(micros).unwrap());
        }
    }

    #[test]
    fn what_is_absent_has_no_bytes_and_a_text_of_texts_is_quoted() {
        let mut out = Vec::new();
        None::<String>.write(&mut out);
        assert_eq!(out, NULL.to_be_bytes());
        out.clear();
        vec!["a".to_owned(), "\"\\,".to_owned()].write_element(&mut out);
        assert_eq!(&out[4..], br#"{"a","\"\\,"}"#);
    }
}
