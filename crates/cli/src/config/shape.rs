//! Where a list stands for a mapping.
//!
//! A type that is derived from its fields takes them from a list as well, in the order in which they happen to be declared. No
//! file means that, and the published schema forbids it; so the schema's own places for mappings are compared, all of them, before.

use crate::config::locate::Path;
use serde_json::Value;

/// The first place of `document` with a list where the schema has a mapping.
pub(super) fn list_for_mapping(document: &Value) -> Option<Path> {
    let schema = super::schema();
    let mut path = Path::new();
    Shape { root: &schema }.is_wrong(&schema, document, &mut path).then_some(path)
}

struct Shape<'s> {
    root: &'s Value,
}

impl Shape<'_> {
    /// Whether something is wrong in `value`; if so, `path` leads to it.
    fn is_wrong(&self, schema: &Value, value: &Value, path: &mut Path) -> bool {
        let Some(schema) = self.mapping_or_list(schema) else { return false };
        match value {
            Value::Array(_) if schema["type"] == "object" => true,
            Value::Array(items) => items.iter().enumerate().any(|(index, item)| {
                path.push(index.to_string());
                let wrong = self.is_wrong(&schema["items"], item, path);
                wrong || path.pop().is_none()
            }),
            Value::Object(map) => map.iter().any(|(key, value)| {
                path.push(key.clone());
                let inner = schema["properties"].get(key).unwrap_or(&schema["additionalProperties"]);
                let wrong = self.is_wrong(inner, value, path);
                wrong || path.pop().is_none()
            }),
            _ => false,
        }
    }

    /// What `schema` says of mappings or lists: itself, what it refers to, or the one of its alternatives that is not `null`.
    fn mapping_or_list<'s>(&'s self, schema: &'s Value) -> Option<&'s Value> {
        if let Some(target) = schema["$ref"].as_str() {
            return self.mapping_or_list(self.root.pointer(target.trim_start_matches('#'))?);
        }
        match schema["type"].as_str() {
            Some("object" | "array") => Some(schema),
            _ => schema["anyOf"].as_array()?.iter().find_map(|one| self.mapping_or_list(one)),
        }
    }
}
