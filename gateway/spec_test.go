package gateway

import (
	"reflect"
	"testing"

	"openshell-vm/gateway/api"
)

// TestAllIsRecorded: what the API is asked for comes into the record in whole, so
// that a sandbox is made anew as it was, and is shown as it was asked for.
func TestAllIsRecorded(t *testing.T) {
	q := api.CreateRequest{}
	fill(t, reflect.ValueOf(&q).Elem(), "request")
	r := asRecorded(q)
	complete(t, reflect.ValueOf(r), "request")
	if shown := asShown(r.Process); !reflect.DeepEqual(shown, q.Process) {
		t.Errorf("the process %+v is shown as %+v", q.Process, shown)
	}
	if shown := mountsShown(r.Mounts); !reflect.DeepEqual(shown, q.Mounts) {
		t.Errorf("the mounts %+v are shown as %+v", q.Mounts, shown)
	}
	asked, kept := reflect.ValueOf(q), reflect.ValueOf(r)
	for i := range asked.NumField() {
		name := asked.Type().Field(i).Name
		if k := kept.FieldByName(name); asked.Field(i).Comparable() && k.IsValid() && k.Type() == asked.Field(i).Type() && !k.Equal(asked.Field(i)) {
			t.Errorf("%s was %v, and is recorded as %v", name, asked.Field(i), k)
		}
	}
}

// fill gives everything in v a value of its own.
func fill(t *testing.T, v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(name)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(len(name)))
	case reflect.Uint16:
		v.SetUint(uint64(len(name)))
	case reflect.Float64:
		v.SetFloat(float64(len(name)))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0), name)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), name+"."+v.Type().Field(i).Name)
		}
	default:
		t.Fatalf("the test has no value for %s", name)
	}
}

// complete expects that nothing in v is zero.
func complete(t *testing.T, v reflect.Value, name string) {
	switch {
	case v.IsZero():
		t.Errorf("%s is not recorded", name)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			complete(t, v.Field(i), name+"."+v.Type().Field(i).Name)
		}
	case v.Kind() == reflect.Slice:
		complete(t, v.Index(0), name)
	}
}
