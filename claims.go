package jwtauth

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// ClaimsAs decodes all claims of a token, registered and custom ones, into a T, by the
// rules of encoding/json. A number that is decoded into an interface is a json.Number, so
// that integers stay exact. The caller owns the result. For a token in a context or in the
// cache of a Verifier, the result is remembered if a copy of a T shares no memory with it:
// if T has no map, slice, pointer or interface.
//
// The error for a zero Token matches ErrNoToken, and that for claims that do not fit T
// matches ErrTokenMalformed; [ClaimsPolicy] refuses such tokens before the handler runs.
func ClaimsAs[T any](t Token) (T, error) {
	var claims T
	if t.claims == "" {
		return claims, fmt.Errorf("jwtauth: no claims: %w", ErrNoToken)
	}
	of := reflect.TypeFor[T]()
	if known, ok := t.memo.find(of); ok {
		return known.(T), nil
	}
	facts := factsOf(of)
	if err := facts.decode(&t, &claims); err != nil {
		var none T
		return none, fmt.Errorf("jwtauth: %w: the claims do not fit %v: %w", ErrTokenMalformed, of, err)
	}
	if facts.shareable {
		t.memo.add(of, claims)
	}
	return claims, nil
}

// typeFacts are the properties of a type that decoding claims into it depends on.
type typeFacts struct {
	shareable    bool // copies of a value share no memory that can be written
	hasInterface bool // it has an interface somewhere
	customOnly   bool // encoding/json reads none of knownClaims
	// fields are the folded names of the members that encoding/json may read; nil means
	// all of them.
	fields map[string]bool
}

// knownClaims are the claims that readClaims knows by name.
var knownClaims = []string{"iss", "sub", "jti", "sid", "client_id", "acr", "exp", "nbf", "iat", "auth_time", "aud", "amr", "cnf"}

// knownTypes maps each reflect.Type that was decoded into to its *typeFacts.
var knownTypes sync.Map

func factsOf(of reflect.Type) *typeFacts {
	if known, ok := knownTypes.Load(of); ok {
		return known.(*typeFacts)
	}
	f := &typeFacts{shareable: shareable(of), hasInterface: hasInterface(of, make(map[reflect.Type]bool))}
	fields := make(map[string]bool)
	if addFields(fields, of, make(map[reflect.Type]bool)) {
		f.fields = fields
		f.customOnly = !slices.ContainsFunc(knownClaims, func(name string) bool { return fields[name] })
	}
	known, _ := knownTypes.LoadOrStore(of, f)
	return known.(*typeFacts)
}

// decode decodes claims into a pointer. It leaves out members that encoding/json would
// skip, which costs less here.
func (f *typeFacts) decode(t *Token, into any) error {
	var text []byte
	switch {
	case f.fields == nil:
		text = []byte(t.claims)
	case f.customOnly && t.custom == 0:
		text = []byte("{}")
	case f.customOnly:
		text = []byte(t.claims[t.custom-1:]) // from the byte before the quotation mark, a brace, comma or blank
		text[0] = '{'
	default:
		var w strictjson.Writer
		err := strictjson.Object(t.claims, func(name string, v strictjson.Value) error {
			if f.fields[strictjson.Fold(name)] {
				w.Raw(name, string(v))
			}
			return nil
		})
		if err != nil { // cannot be: the claims were read before
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

// addFields adds the folded names of the members that a struct reads. It returns false if
// they are not known: for a type that decodes itself, for one that is not a struct, and for
// an unknown option of a tag.
func addFields(fields map[string]bool, of reflect.Type, seen map[reflect.Type]bool) bool {
	p := reflect.PointerTo(of)
	_, streams := p.MethodByName("UnmarshalJSONFrom") // of encoding/json/v2
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

// hasInterface reports whether a value of that type can have an interface.
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

// shareable reports whether copies of a value of that type share no memory that can be
// written.
func shareable(of reflect.Type) bool {
	switch of.Kind() {
	case reflect.Bool, reflect.String,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return true
	case reflect.Array:
		return shareable(of.Elem())
	case reflect.Struct:
		for i := range of.NumField() {
			if !shareable(of.Field(i).Type) {
				return false
			}
		}
		return true
	}
	return false
}

// memo remembers the decoded claims of one token. The zero value is empty. A nil memo
// remembers nothing.
type memo struct {
	first atomic.Pointer[decoded]
	entry charger // the cache entry that pays for the memory; may be nil
}

// charger is a cache entry.
type charger interface {
	// Charge reports whether the entry may grow by n bytes, and notes that it does.
	Charge(n int) bool
}

type decoded struct {
	of    reflect.Type
	value any
	next  *decoded
	depth int
}

// maxDecoded is for how many types the claims of one token are remembered.
// decodedOverhead is what each costs in addition to its value, in bytes.
const (
	maxDecoded      = 4
	decodedOverhead = 64
)

func (m *memo) find(of reflect.Type) (any, bool) {
	if m == nil {
		return nil, false
	}
	for r := m.first.Load(); r != nil; r = r.next {
		if r.of == of {
			return r.value, true
		}
	}
	return nil, false
}

func (m *memo) add(of reflect.Type, value any) {
	if m == nil {
		return
	}
	first := m.first.Load()
	r := &decoded{of: of, value: value, next: first, depth: 1}
	if first != nil {
		r.depth += first.depth
	}
	if r.depth > maxDecoded || m.entry != nil && !m.entry.Charge(sizeOf(reflect.ValueOf(value))+decodedOverhead) {
		return
	}
	m.first.CompareAndSwap(first, r) // if another call was quicker, the next one decodes again
}

// sizeOf returns how much memory a value of a shareable type takes, in bytes.
func sizeOf(v reflect.Value) int {
	size := int(v.Type().Size())
	switch v.Kind() {
	case reflect.String:
		size += v.Len()
	case reflect.Array:
		for i := range v.Len() {
			size += sizeOf(v.Index(i)) - int(v.Type().Elem().Size())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			size += sizeOf(v.Field(i)) - int(v.Field(i).Type().Size())
		}
	}
	return size
}

// isImpostor reports whether a name that is not a registered claim is one in another
// case or spelling. Such a claim would not be checked, and encoding/json would take it
// for the registered one in the struct of a handler.
func isImpostor(name string) bool {
	folded := strictjson.Fold(name)
	return folded != name && reserved[folded]
}
