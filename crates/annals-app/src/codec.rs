//! JSON of a named value without its name: `MoneyDeposited { amount }` is stored as `{"amount":…}` under that name.
//!
//! A value is written and read by what `serde` derives for it; these two adapters only leave the variant's tag out and
//! put it back in, without an intermediate tree.

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, VariantAccess, Visitor};
use serde::ser::{self, Serialize, SerializeMap, Serializer};
use serde_json::Error;

use crate::Named;

/// Writes the fields of a value as JSON.
///
/// # Errors
/// What the value's own `Serialize` reports.
pub fn encode<T: Named>(value: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(128);
    value.serialize(Untagged(&mut serde_json::Serializer::new(&mut bytes)))?;
    Ok(bytes)
}

/// Reads a value of the given name from JSON; `None` when the type knows no such name.
///
/// # Errors
/// What does not fit, and where in the JSON.
pub fn decode<T: Named>(name: &str, json: &[u8]) -> Result<Option<T>, Error> {
    let Some(index) = T::NAMES.iter().position(|known| *known == name) else { return Ok(None) };
    let mut json = serde_json::Deserializer::from_slice(if json.is_empty() { b"{}" } else { json });
    let value = T::deserialize(Tagged { index: index as u32, json: &mut json })?;
    json.end()?;
    Ok(Some(value))
}

/// Leaves the tag of an enum out.
struct Untagged<S>(S);

macro_rules! pass_on {
    ($($method:ident($type:ty);)*) => {$(
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.0.$method(value)
        }
    )*};
}

impl<S: Serializer> Serializer for Untagged<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = S::SerializeSeq;
    type SerializeTuple = S::SerializeTuple;
    type SerializeTupleStruct = S::SerializeTupleStruct;
    type SerializeTupleVariant = Parts<S::SerializeTuple>;
    type SerializeMap = S::SerializeMap;
    type SerializeStruct = S::SerializeStruct;
    type SerializeStructVariant = Parts<S::SerializeStruct>;

    pass_on! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_none()
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(value)
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit()
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<S::Ok, S::Error> {
        self.0.serialize_map(Some(0))?.end()
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_struct(name, value)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<S::SerializeSeq, S::Error> {
        self.0.serialize_seq(length)
    }

    fn serialize_tuple(self, length: usize) -> Result<S::SerializeTuple, S::Error> {
        self.0.serialize_tuple(length)
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<S::SerializeTupleStruct, S::Error> {
        self.0.serialize_tuple_struct(name, length)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<S::SerializeMap, S::Error> {
        self.0.serialize_map(length)
    }

    fn serialize_struct(self, name: &'static str, length: usize) -> Result<S::SerializeStruct, S::Error> {
        self.0.serialize_struct(name, length)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<S::Ok, S::Error> {
        self.0.serialize_map(Some(0))?.end()
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(self.0)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.0.serialize_tuple(length).map(Parts)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.0.serialize_struct(name, length).map(Parts)
    }
}

/// The parts of a variant, written as those of a plain tuple or struct.
struct Parts<S>(S);

impl<S: ser::SerializeTuple> ser::SerializeTupleVariant for Parts<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_field<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), S::Error> {
        self.0.serialize_element(value)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

impl<S: ser::SerializeStruct> ser::SerializeStructVariant for Parts<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_field<T: ?Sized + Serialize>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), S::Error> {
        self.0.serialize_field(key, value)
    }

    fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
        self.0.skip_field(key)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

type Json<'de> = serde_json::Deserializer<serde_json::de::SliceRead<'de>>;

/// Puts the tag of an enum back in. Variants are told apart by their index, which `serde` accepts beside their name.
struct Tagged<'a, 'de> {
    index: u32,
    json: &'a mut Json<'de>,
}

impl<'de> Deserializer<'de> for Tagged<'_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.json.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.json.deserialize_struct(name, fields, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.json.deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        de::IgnoredAny::deserialize_from(self.json)?;
        visitor.visit_unit()
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit seq tuple tuple_struct
        map identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Tagged<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let index: de::value::U32Deserializer<Error> = self.index.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> VariantAccess<'de> for Tagged<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        de::IgnoredAny::deserialize_from(self.json)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.json)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.json.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // As a struct, a list of values without their names would be accepted too.
        self.json.deserialize_map(visitor)
    }
}

/// Reads a value and forgets it.
trait Ignore {
    fn deserialize_from(json: &mut Json<'_>) -> Result<(), Error>;
}

impl Ignore for de::IgnoredAny {
    fn deserialize_from(json: &mut Json<'_>) -> Result<(), Error> {
        <Self as de::Deserialize>::deserialize(json).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Empty,
        One(u32),
        Pair(u32, String),
        #[serde(rename_all = "camelCase")]
        Fields {
            first_name: String,
            maybe: Option<u64>,
        },
    }

    impl Named for Shape {
        const NAMES: &'static [&'static str] = &["Empty", "Single", "Pair", "Fields"];
        fn name_index(&self) -> usize {
            match self {
                Self::Empty => 0,
                Self::One(_) => 1,
                Self::Pair(..) => 2,
                Self::Fields { .. } => 3,
            }
        }
    }

    #[test]
    fn values_lose_their_tag_and_find_it_again() {
        let fields = |maybe| Shape::Fields { first_name: "ann".into(), maybe };
        let cases = [
            (Shape::Empty, "{}"),
            (Shape::One(7), "7"),
            (Shape::Pair(1, "x".into()), r#"[1,"x"]"#),
            (fields(None), r#"{"firstName":"ann","maybe":null}"#),
            (fields(Some(3)), r#"{"firstName":"ann","maybe":3}"#),
        ];
        for (value, json) in cases {
            let bytes = encode(&value).unwrap();
            assert_eq!(String::from_utf8_lossy(&bytes), json);
            assert_eq!(decode::<Shape>(value.name(), &bytes).unwrap(), Some(value));
        }
        assert_eq!(decode::<Shape>("Unheard", b"{}").unwrap(), None);
        assert_eq!(decode::<Shape>("Empty", b"").unwrap(), Some(Shape::Empty));
        assert!(decode::<Shape>("Fields", br#"["ann",null]"#).is_err(), "fields have names");
        assert!(decode::<Shape>("Single", b"7 8").is_err(), "nothing may follow");
        assert!(
            decode::<Shape>("Fields", b"{}").unwrap_err().to_string().contains("missing field `firstName`")
        );
    }
}
