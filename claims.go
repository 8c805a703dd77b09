package jwtauth

import (
	"bytes"
	"context"
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

// ClaimsAs decodes the claims of a token, registered and custom ones alike, into
// a T by the rules of encoding/json; numbers that go into an interface come as
// json.Number, so that integers stay exact. The result is the caller's own. What
// was decoded for a token in a context or in the cache of a Verifier is remembered
// there if T holds nothing that could be changed through a copy: no map, slice,
// pointer or interface.
//
// The error for a zero Token matches ErrNoToken. Claims that do not fit T are an
// error, too; [CheckClaims] makes the middleware refuse such tokens.
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
		return none, fmt.Errorf("jwtauth: the claims do not fit %v: %w", of, err)
	}
	if facts.shareable {
		t.memo.add(of, claims)
	}
	return claims, nil
}

// CheckClaims makes a VerifierOptions.Check from claims with types: a token
// whose claims do not decode into a T is refused at the door, with 401, and does
// not become the 500 of a handler; then f is asked, unless it is nil. What f
// returns means what it means for Check.
func CheckClaims[T any](f func(ctx context.Context, t Token, claims T) error) func(context.Context, Token) error {
	return func(ctx context.Context, t Token) error {
		claims, err := ClaimsAs[T](t)
		if err != nil {
			return err
		}
		if f == nil {
			return nil
		}
		return f(ctx, t, claims)
	}
}

// typeFacts is what has to be known of a type to decode claims into it.
type typeFacts struct {
	shareable bool // copies of a value share nothing that can be written
	loose     bool // it holds an interface somewhere
	custom    bool // encoding/json looks at none of knownClaims
	// fields are the folded names of the members that encoding/json may look at;
	// nil: all of them.
	fields map[string]bool
}

// customSomewhere is the Token.custom of claims whose first other name has escapes, so
// that its place is not known.
const customSomewhere = 1

// knownClaims are the claims that readClaims knows by their names.
var knownClaims = []string{"iss", "sub", "jti", "sid", "client_id", "acr", "exp", "nbf", "iat", "auth_time", "aud", "amr", "cnf"}

// knownTypes are the facts of the types that were asked for: reflect.Type to
// *typeFacts.
var knownTypes sync.Map

func factsOf(of reflect.Type) *typeFacts {
	if known, ok := knownTypes.Load(of); ok {
		return known.(*typeFacts)
	}
	f := &typeFacts{shareable: shareable(of), loose: isLoose(of, make(map[reflect.Type]bool))}
	fields := make(map[string]bool)
	if addFields(fields, of, make(map[reflect.Type]bool)) {
		f.fields = fields
		f.custom = !slices.ContainsFunc(knownClaims, func(name string) bool { return fields[name] })
	}
	known, _ := knownTypes.LoadOrStore(of, f)
	return known.(*typeFacts)
}

// decode decodes the members of claims that count into a pointer. The others, as a
// rule most of the registered ones, cost encoding/json more than they do here.
func (f *typeFacts) decode(t *Token, into any) error {
	var text []byte
	switch {
	case f.fields == nil:
		text = []byte(t.claims)
	case f.custom && t.custom == 0:
		text = []byte("{}")
	case f.custom && t.custom > customSomewhere:
		text = []byte(t.claims[t.custom-2:]) // from the byte before the quotation mark on, a comma or a blank
		text[0] = '{'
	default:
		var w strictjson.Writer
		err := strictjson.Object(t.claims, func(name string, v strictjson.Value) error {
			if f.fields[strictjson.Fold(name)] {
				w.Raw(name, string(v))
			}
			return nil
		})
		if err != nil { // cannot be: they have been read before
			return err
		}
		text = w.Object()
	}
	if !f.loose {
		return json.Unmarshal(text, into)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode(into)
}

// addFields adds the folded names of the members that a struct takes. It is false
// where they cannot be told: for what decodes itself, for what is no struct, for
// options of a tag that are not known here.
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

// isLoose says whether a value of that type can hold an interface.
func isLoose(of reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[of] {
		return false
	}
	seen[of] = true
	switch of.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return isLoose(of.Elem(), seen)
	case reflect.Struct:
		for i := range of.NumField() {
			if isLoose(of.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}

// shareable says whether copies of a value of that type share nothing that can
// be written.
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

// memo remembers the claims of one token, decoded. The zero value is empty; nil
// remembers nothing.
type memo struct {
	first atomic.Pointer[decoded]
	in    *cacheEntry // which pays for it; nil for none
}

type decoded struct {
	of    reflect.Type
	value any
	next  *decoded
	depth int
}

// maxDecoded is for how many types the claims of one token are remembered, and
// decodedOverhead what each costs beside its value.
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
	if r.depth > maxDecoded || m.in != nil && !m.in.Charge(sizeOf(reflect.ValueOf(value))+decodedOverhead) {
		return
	}
	m.first.CompareAndSwap(first, r) // whoever comes second decodes anew
}

// sizeOf is how much memory a value of a shareable type takes.
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
