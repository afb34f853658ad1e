package kubernetes

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// drainTimeout is the default of handoff.Config.DrainTimeout.
const drainTimeout = time.Minute

// strict decodes as the API server does if it is to be strict: a field that it does not know, or that is there twice, is an
// error, and so is a letter of the wrong case.
func strict(b []byte, into any) error {
	b, err := yaml.YAMLToJSONStrict(b)
	if err != nil {
		return err
	}
	wrong, err := json.UnmarshalStrict(b, into)
	return errors.Join(append(wrong, err)...)
}

// spec decodes a manifest strictly: a field that the API does not have, or has elsewhere, is an error.
func spec(b []byte) (*corev1.PodSpec, error) {
	var kind struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(b, &kind); err != nil {
		return nil, err
	}
	switch kind.APIVersion + " " + kind.Kind {
	case "apps/v1 DaemonSet":
		var d appsv1.DaemonSet
		err := strict(b, &d)
		if err == nil && d.Spec.Template.Labels["app"] != d.Spec.Selector.MatchLabels["app"] {
			err = fmt.Errorf("the selector does not match the pods")
		}
		return &d.Spec.Template.Spec, err
	case "v1 Pod":
		var p corev1.Pod
		err := strict(b, &p)
		return &p.Spec, err
	}
	return nil, fmt.Errorf("%v is not expected", kind)
}

func TestManifests(t *testing.T) {
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, name := range files {
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			s, err := spec(b)
			if err != nil {
				t.Fatal(err)
			}
			check(t, s)
			// Would it notice?
			for good, bad := range map[string]string{"terminationGracePeriodSeconds:": "terminationGracePeriod:", "mountPath:": "mountpath:"} {
				if _, err := spec(bytes.Replace(b, []byte(good), []byte(bad), 1)); err == nil {
					t.Errorf("%s instead of %s is accepted", bad, good)
				}
			}
		})
	}
}

// check wants what the comments say.
func check(t *testing.T, s *corev1.PodSpec) {
	if s.TerminationGracePeriodSeconds == nil {
		t.Fatal("no terminationGracePeriodSeconds")
	}
	grace := time.Duration(*s.TerminationGracePeriodSeconds) * time.Second
	for _, c := range s.Containers {
		var stop time.Duration
		for _, arg := range c.Command {
			if v, ok := strings.CutPrefix(arg, "--stop-timeout="); ok {
				d, err := time.ParseDuration(v)
				if err != nil {
					t.Error(err)
				}
				stop = d
			}
		}
		if stop <= drainTimeout || grace <= stop {
			t.Errorf("%s: %v to drain, --stop-timeout %v, %v of grace", c.Name, drainTimeout, stop, grace)
		}
		if !slices.Contains(c.Command, "--stay") || !slices.Contains(c.Command, "--rendezvous=/run/app/rendezvous") {
			t.Errorf("%s: %q", c.Name, c.Command)
		}
		for _, m := range c.VolumeMounts {
			if !slices.ContainsFunc(s.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) {
				t.Errorf("%s: there is no volume %s", c.Name, m.Name)
			}
		}
		if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/run/app" }) {
			t.Errorf("%s: the directory of the rendezvous is not shared", c.Name)
		}
		if s.HostNetwork {
			if len(c.Ports) > 0 {
				t.Errorf("%s: ports, which keep a second pod off the node", c.Name)
			}
			if p := c.ReadinessProbe; p == nil || p.Exec == nil {
				t.Errorf("%s: the readiness is that of another pod", c.Name)
			}
		}
	}
}
