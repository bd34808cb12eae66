package manifest

import (
	"encoding/json"
	"maps"
)

// schema is a JSON schema.
type schema map[string]any

// SchemaURL is where editors find the schema.
const SchemaURL = "https://raw.githubusercontent.com/segue-go/segue/main/docs/segue.schema.json"

// orVariable is s, or what has its value from the environment.
func orVariable(s schema) schema {
	return schema{"anyOf": []schema{s, {"$ref": "#/$defs/variable"}}}
}

func (s section) schema() schema {
	properties, needed := schema{}, []string{}
	for _, r := range s.rows {
		p := maps.Clone(r.schema)
		p["description"] = r.means
		switch r.standard {
		case "", "{}":
		case required:
			needed = append(needed, r.name)
		default:
			var v any
			if err := literal(r.standard).Decode(&v); err != nil {
				panic(err) // of the table
			}
			p["default"] = v
		}
		properties[r.name] = p
	}
	object := schema{"type": "object", "properties": properties, "additionalProperties": false}
	if s.about != "" {
		object["description"] = s.about
	}
	if len(needed) > 0 {
		object["required"] = needed
	}
	if s.extra != "" {
		object["patternProperties"] = schema{"^" + s.extra: schema{}}
	}
	return object
}

// Schema is the JSON schema (draft 2020-12) of the file. It says what one value can
// be; what two of them must have in common is for Parse to say.
func Schema() []byte {
	s := manifest.section().schema()
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["$id"] = SchemaURL
	s["title"] = "segue.yaml"
	s["$defs"] = schema{"variable": schema{"type": "string", "pattern": `\$\{`, "description": "has its value from the environment"}}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // of the table
	}
	return append(data, '\n')
}
