// Package claimtype decodes claims into a type of the program. It inspects the type once by
// reflection, to skip claims that the type does not use and to find out whether decoded
// values may be cached.
package claimtype

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// Facts are the properties of a type. Get them with Of. Facts are immutable.
type Facts struct {
	// Shareable means that copies of a value share no writable memory: the type has no pointer,
	// slice, map or interface. The program can then change its copy of a cached value.
	Shareable    bool
	hasInterface bool // the type has an interface at some depth
	customOnly   bool // the type has no field for any of knownClaims
	// fields are the folded names of the members that encoding/json may read. nil means that
	// it may read all members.
	fields map[string]bool
}

// knownClaims are the claims that a verifier reads by name.
var knownClaims = []string{"iss", "sub", "jti", "sid", "sid_epoch", "act", "client_id", "acr", "exp", "nbf", "iat", "auth_time", "aud", "amr", "cnf"}

// knownTypes caches the *Facts of each reflect.Type.
var knownTypes sync.Map

// Of returns the Facts of a type. It computes them only once for each type.
func Of(of reflect.Type) *Facts {
	if known, ok := knownTypes.Load(of); ok {
		return known.(*Facts)
	}
	f := &Facts{Shareable: isShareable(of), hasInterface: hasInterface(of, make(map[reflect.Type]bool))}
	fields := make(map[string]bool)
	if addFields(fields, of, make(map[reflect.Type]bool)) {
		f.fields = fields
		f.customOnly = !slices.ContainsFunc(knownClaims, func(name string) bool { return fields[name] })
	}
	known, _ := knownTypes.LoadOrStore(of, f)
	return known.(*Facts)
}

// Decode decodes the text of a claims object into a pointer, by the rules of encoding/json.
// To save time, it first removes members that the type does not use. custom is the position
// in claims of the first member whose name is not one of knownClaims, or 0 if there is no
// such member. A number becomes a json.Number if its target is an interface.
func (f *Facts) Decode(claims string, custom int, into any) error {
	var text []byte
	switch {
	case f.fields == nil:
		text = []byte(claims)
	case f.customOnly && custom == 0:
		text = []byte("{}")
	case f.customOnly:
		text = []byte(claims[custom-1:]) // the byte before the name is a brace, a comma or a blank
		text[0] = '{'
	default:
		var w strictjson.Writer
		err := strictjson.Claims(claims, true, func(name string, v strictjson.Value, _ int) error {
			if f.fields[strictjson.Fold(name)] {
				w.Raw(name, string(v))
			}
			return nil
		})
		if err != nil { // unreachable, since the claims were read before
			return err
		}
		text = w.Object()
	}
	if !f.hasInterface {
		return json.Unmarshal(text, into)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode(into)
}

// addFields adds the folded names of the members that encoding/json may read into a struct.
// It returns false if it cannot know them: for a type that decodes itself, for a type that
// is not a struct, and for an unknown option in a tag.
func addFields(fields map[string]bool, of reflect.Type, seen map[reflect.Type]bool) bool {
	p := reflect.PointerTo(of)
	_, streams := p.MethodByName("UnmarshalJSONFrom") // the method of encoding/json/v2
	if of.Kind() != reflect.Struct || streams || p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return false
	}
	if seen[of] {
		return true
	}
	seen[of] = true
	for i := range of.NumField() {
		field := of.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		for option := range strings.SplitSeq(options, ",") {
			switch option {
			case "", "omitempty", "omitzero", "string":
			default:
				return false
			}
		}
		fields[strictjson.Fold(name)], fields[strictjson.Fold(field.Name)] = true, true
		if inner := field.Type; field.Anonymous {
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct && !addFields(fields, inner, seen) {
				return false
			}
		}
	}
	return true
}

// hasInterface reports whether a type has an interface at some depth.
func hasInterface(of reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[of] {
		return false
	}
	seen[of] = true
	switch of.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return hasInterface(of.Elem(), seen)
	case reflect.Struct:
		for i := range of.NumField() {
			if hasInterface(of.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}

// isShareable reports whether copies of a value of a type share no writable memory.
func isShareable(of reflect.Type) bool {
	switch of.Kind() {
	case reflect.Bool, reflect.String,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return true
	case reflect.Array:
		return isShareable(of.Elem())
	case reflect.Struct:
		for i := range of.NumField() {
			if !isShareable(of.Field(i).Type) {
				return false
			}
		}
		return true
	}
	return false
}

// Size returns how much memory a value of a shareable type takes, in bytes.
func Size(v reflect.Value) int {
	size := int(v.Type().Size())
	switch v.Kind() {
	case reflect.String:
		size += v.Len()
	case reflect.Array:
		for i := range v.Len() {
			size += Size(v.Index(i)) - int(v.Type().Elem().Size())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			size += Size(v.Field(i)) - int(v.Field(i).Type().Size())
		}
	}
	return size
}
