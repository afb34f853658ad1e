package wire

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// unmarshal is json.Unmarshal with an error that is [ErrMalformed] and names the member that is at fault, in the words of
// the protocol: json does not name one that must be a number in a string.
func unmarshal(b []byte, v any) error {
	err := json.Unmarshal(b, v)
	if err == nil {
		return nil
	}
	if path, want, got := misfit(b, reflect.TypeOf(v).Elem()); path != "" {
		return fmt.Errorf("%w: member %s must be %s, and is %.40s", ErrMalformed, path[1:], want, got)
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// misfit finds the first member of the object b that does not fit its field in a struct: its path, which begins with a
// dot, what it must be, and what it is. The path is empty if all fit, or b is no object.
func misfit(b []byte, t reflect.Type) (path, want, got string) {
	var values map[string]json.RawMessage
	if json.Unmarshal(b, &values) != nil {
		return "", "", ""
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		value, ok := values[name]
		if !ok || fits(name, value, f) {
			continue
		}
		path, want, got = "."+name, wanted(f.Type, strings.Contains(option, "string")), string(value)
		element := f.Type
		if element.Kind() == reflect.Slice {
			var elements []json.RawMessage
			if json.Unmarshal(value, &elements) != nil {
				return path, want, got
			}
			element = element.Elem()
			for i, e := range elements {
				if json.Unmarshal(e, reflect.New(element).Interface()) != nil {
					path, want, got, value = fmt.Sprintf("%s[%d]", path, i), wanted(element, false), string(e), e
					break
				}
			}
		}
		if element.Kind() == reflect.Pointer {
			element = element.Elem()
		}
		if element.Kind() == reflect.Struct {
			if deeper, want, got := misfit(value, element); deeper != "" {
				return path + deeper, want, got
			}
		}
		return path, want, got
	}
	return "", "", ""
}

// fits reports whether a field can hold the value of its member.
func fits(name string, value json.RawMessage, f reflect.StructField) bool {
	alone := reflect.New(reflect.StructOf([]reflect.StructField{f}))
	return json.Unmarshal(fmt.Appendf(nil, "{%q:%s}", name, value), alone.Interface()) == nil
}

// wanted says what a member of a type must be; quoted, that its number must be in a string.
func wanted(t reflect.Type, quoted bool) string {
	switch {
	case quoted && t.Kind() == reflect.Uint64:
		return "an unsigned decimal number of 64 bits, in a string"
	case quoted:
		return "a decimal number of 64 bits, in a string"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return wanted(t.Elem(), false)
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Struct:
		return "an object"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "a string in base64"
		}
		return "an array"
	default:
		return "a whole number of at most 64 bits"
	}
}
