//! What a handler takes from a request, as the document tells it: the types of its arguments are the description, so
//! that the two cannot differ.

use axum::extract::State;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value, json};
use utoipa::openapi::path::ParameterIn;
use utoipa::{IntoParams, ToSchema};

use crate::body::{Body, Params, Query, Text};
use crate::gate::{Caller, Given, GivenRole, Scoped, Sender};

/// What a request consists of besides its path.
#[derive(Default)]
pub(crate) struct Reading {
    /// Name of the schema of the body; none when there is no body, or one of any kind.
    pub(crate) body: Option<String>,
    /// Media type of the body.
    pub(crate) takes: &'static str,
    /// Whether there must be a body.
    pub(crate) body_required: bool,
    /// Query parameters.
    pub(crate) query: Vec<Value>,
    /// The schemas that are referred to, by name.
    pub(crate) schemas: Map<String, Value>,
}

/// An argument of a handler.
pub(crate) trait Argument {
    /// Adds what it takes from the request; most take nothing.
    fn tell(_: &mut Reading) {}
}

/// All arguments of a handler, as axum names them: a marker, then each of them.
pub(crate) trait Arguments {
    /// What they take from the request.
    fn told() -> Reading;
}

macro_rules! arguments {
    ($($one:ident)*) => {
        impl<Marker, $($one: Argument),*> Arguments for (Marker, $($one,)*) {
            fn told() -> Reading {
                let each: &[fn(&mut Reading)] = &[$($one::tell),*];
                let mut reading = Reading::default();
                each.iter().for_each(|tell| tell(&mut reading));
                reading
            }
        }
    };
}
arguments!();
arguments!(A);
arguments!(A B);
arguments!(A B C);
arguments!(A B C D);
arguments!(A B C D E);

impl<T> Argument for State<T> {}
impl<T> Argument for Scoped<T> {}
impl Argument for Caller {}
impl Argument for Given {}
impl Argument for GivenRole {}
impl Argument for Sender {}
impl Argument for HeaderMap {}
/// The path names them.
impl Argument for Params {}
/// What is checked by its signature before it is read.
impl Argument for Bytes {}

impl<T: ToSchema> Argument for Body<T> {
    fn tell(reading: &mut Reading) {
        let name = schema_of::<T>(&mut reading.schemas);
        let required = &reading.schemas[&name]["required"];
        reading.body_required = required.as_array().is_some_and(|required| !required.is_empty());
        reading.body = Some(name);
        reading.takes = "application/json";
    }
}

impl Argument for Text {
    fn tell(reading: &mut Reading) {
        reading.schemas.insert("Text".to_owned(), json!({ "type": "string" }));
        (reading.body, reading.takes, reading.body_required) = (Some("Text".to_owned()), "text/plain", true);
    }
}

impl<T: IntoParams> Argument for Query<T> {
    fn tell(reading: &mut Reading) {
        for parameter in T::into_params(|| Some(ParameterIn::Query)) {
            let mut parameter = serde_json::to_value(parameter).expect("a parameter serialises");
            // What may be left out is never null: a query string has no such thing.
            if let Some(types) = parameter["schema"]["type"].as_array() {
                let kind = types.iter().find(|kind| *kind != "null").cloned();
                parameter["schema"]["type"] = kind.unwrap_or_else(|| json!("string"));
            }
            reading.query.push(parameter);
        }
    }
}

/// Adds the schema of a type, and those that it refers to; answers its name.
pub(crate) fn schema_of<T: ToSchema>(schemas: &mut Map<String, Value>) -> String {
    let mut all = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut all);
    for (name, schema) in all {
        let schema = serde_json::to_value(schema).expect("a schema serialises");
        let before = schemas.insert(name.clone(), schema.clone());
        assert!(before.is_none_or(|before| before == schema), "two schemas are called {name}");
    }
    T::name().into_owned()
}
