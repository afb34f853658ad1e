package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/segue-go/segue/handoff/internal/sys"
)

// collectDescriptors shows how many descriptors this process has and may have; nothing, if /proc is not there.
func collectDescriptors(ch chan<- prometheus.Metric) {
	open, limit, err := sys.Descriptors()
	if err != nil {
		return
	}
	ch <- prometheus.MustNewConstMetric(descriptors, prometheus.GaugeValue, float64(open))
	ch <- prometheus.MustNewConstMetric(descriptorsLimit, prometheus.GaugeValue, float64(limit))
}
