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
	"k8s.io/kubernetes/pkg/apis/apps"
	appsapi "k8s.io/kubernetes/pkg/apis/apps/v1"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	coreapi "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/segue-go/segue/handoff"
)

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

// spec does what the API server does with a manifest: decodes it strictly, fills in defaults, and validates what comes of that.
func spec(b []byte) (*corev1.PodSpec, error) {
	var kind struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(b, &kind); err != nil {
		return nil, err
	}
	const namespace = "default" // which kubectl fills in
	switch kind.APIVersion + " " + kind.Kind {
	case "apps/v1 DaemonSet":
		var d appsv1.DaemonSet
		if err := strict(b, &d); err != nil {
			return nil, err
		}
		d.Namespace = namespace
		s := d.Spec.Template.Spec.DeepCopy()
		var full apps.DaemonSet
		appsapi.SetObjectDefaults_DaemonSet(&d)
		if err := appsapi.Convert_v1_DaemonSet_To_apps_DaemonSet(&d, &full, nil); err != nil {
			return nil, err
		}
		return s, appsvalidation.ValidateDaemonSet(&full, validation.PodValidationOptions{}).ToAggregate()
	case "v1 Pod":
		var p corev1.Pod
		if err := strict(b, &p); err != nil {
			return nil, err
		}
		p.Namespace = namespace
		s := p.Spec.DeepCopy()
		var full core.Pod
		coreapi.SetObjectDefaults_Pod(&p)
		if err := coreapi.Convert_v1_Pod_To_core_Pod(&p, &full, nil); err != nil {
			return nil, err
		}
		return s, validation.ValidatePodCreate(&full, validation.PodValidationOptions{}).ToAggregate()
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
		})
	}
}

// TestNegative: what the API server refuses, this test refuses.
func TestNegative(t *testing.T) {
	for _, tt := range []struct{ name, good, bad, want string }{
		{"pod.yaml", "terminationGracePeriodSeconds:", "terminationGracePeriod:", `unknown field "spec.terminationGracePeriod"`},
		{"pod.yaml", "mountPath:", "mountpath:", `unknown field "spec.containers[0].volumeMounts[0].mountpath"`},
		{"pod.yaml", "restartPolicy: Always", "restartPolicy: Sometimes", `spec.restartPolicy: Unsupported value: "Sometimes"`},
		{"pod.yaml", "image: registry.example/app:1", "imagePullPolicy: Always", "spec.containers[0].image: Required value"},
		{"pod.yaml", "name: green", "name: blue", "spec.containers[1].name: Duplicate value"},
		{"pod.yaml", "mountPath: /run/app", "mountPath: ''", "volumeMounts[0].mountPath: Required value"},
		{"pod.yaml", "port: 8080", "port: 808080", "httpGet.port: Invalid value"},
		{"pod.yaml", "emptyDir:", "hostPath: {path: /run/app}\n      emptyDir:", "may not specify more than 1 volume type"},
		{"pod.yaml", "- name: rendezvous\n      emptyDir:", "- name: other\n      emptyDir:", `volumeMounts[0].name: Not found: "rendezvous"`},
		{"pod.yaml", "sizeLimit: 1Mi", "sizeLimit: 1Mib", "quantities must match"},
		{"daemonset.yaml", "maxSurge: 1", "maxSurge: 0", "cannot be 0 when maxSurge is 0"},
		{"daemonset.yaml", "maxUnavailable: 0", "maxUnavailable: 1", "spec.updateStrategy.rollingUpdate"},
		{"daemonset.yaml", "type: RollingUpdate", "type: Rolling", "spec.updateStrategy: Unsupported value"},
		{"daemonset.yaml", "matchLabels:\n      app: app", "matchLabels:\n      app: other", "`selector` does not match template `labels`"},
		{"daemonset.yaml", "minReadySeconds: 10", "minReadySeconds: -1", "spec.minReadySeconds: Invalid value"},
		{"daemonset.yaml", "command: [\"test\", \"-e\", \"/tmp/ready\"]", "command: []", "readinessProbe.exec.command: Required value"},
		{"daemonset.yaml", "type: DirectoryOrCreate", "type: Folder", "hostPath.type"},
		{"daemonset.yaml", "kind: DaemonSet", "kind: Daemon", "is not expected"},
	} {
		t.Run(tt.name+" "+tt.bad, func(t *testing.T) {
			b, err := os.ReadFile(tt.name)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(b, []byte(tt.good)) {
				t.Fatalf("there is no %q", tt.good)
			}
			if _, err := spec(bytes.Replace(b, []byte(tt.good), []byte(tt.bad), 1)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// drainTimeout is the default of Config.DrainTimeout.
func drainTimeout(t *testing.T) time.Duration {
	t.Helper()
	g, err := handoff.Join(t.Context(), handoff.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	return g.DrainTimeout()
}

// check wants what the comments say.
func check(t *testing.T, s *corev1.PodSpec) {
	drain := drainTimeout(t)
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
		if stop <= drain || grace <= stop {
			t.Errorf("%s: %v to drain, --stop-timeout %v, %v of grace", c.Name, drain, stop, grace)
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
