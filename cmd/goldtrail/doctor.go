package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/goldtrail/goldtrail/internal/doctor"
)

// examined is what `goldtrail doctor` looks at beside Loki.
type examined struct {
	goldmane    doctor.Goldmane
	collector   doctor.Collector
	kubeconfig  string
	as          string
	environment []variable
}

// variable is a flag that the environment can give.
type variable struct {
	flag, name string
	value      *string
}

func (a *app) doctorCommand() *cobra.Command {
	var e examined
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Checks Goldmane, Loki, Kubernetes and the Collector",
		Long: `Checks what the trail rests on: Goldmane (reach, TLS, certificates, flows, how often nodes flush, clock, what it
counts), the Collector (health, what it counts), the rights in Kubernetes, Loki (reach, OTLP, limits, retention) and
the trail itself (age of the newest records, the last hour, silent nodes). Each warning and failure comes with its remedy. What is not named is skipped.
It changes nothing: Loki is sent an export without records, and of Goldmane single windows that are over are listed.`,
		Example: `  goldtrail doctor --goldmane 127.0.0.1:7443 --goldmane-server-name goldmane.calico-system.svc \
    --goldmane-ca ca.crt --goldmane-cert tls.crt --goldmane-key tls.key
  goldtrail doctor --goldmane-metrics http://127.0.0.1:9081/metrics
  goldtrail doctor --collector http://127.0.0.1:13133 --collector-metrics http://127.0.0.1:8888/metrics
  goldtrail doctor --kubeconfig ~/.kube/config --as system:serviceaccount:goldtrail:goldtrail-collector`,
		Args:        wrongArgs(cobra.NoArgs),
		Annotations: map[string]string{formats: ""},
		RunE: func(cmd *cobra.Command, _ []string) error {
			patient, err := e.patient(cmd, a)
			if err != nil {
				return err
			}
			report := doctor.Examine(cmd.Context(), patient)
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			if err := a.printReport(report); err != nil {
				return err
			}
			return verdict(report)
		},
	}
	flags := cmd.Flags()
	for _, v := range []struct {
		variable
		help string
	}{
		{variable{"goldmane", "GOLDMANE_ENDPOINT", &e.goldmane.Endpoint}, "Goldmane's host:port, in the cluster goldmane.calico-system.svc:7443"},
		{variable{"goldmane-ca", "GOLDMANE_CA_FILE", &e.goldmane.CAFile}, "CA of Goldmane's certificate, PEM; without the three files it is spoken to in plaintext"},
		{variable{"goldmane-cert", "GOLDMANE_CERT_FILE", &e.goldmane.CertFile}, "client certificate for Goldmane, PEM"},
		{variable{"goldmane-key", "GOLDMANE_KEY_FILE", &e.goldmane.KeyFile}, "key of that certificate, PEM"},
		{variable{"kubeconfig", "KUBECONFIG", &e.kubeconfig}, "kubeconfig of the cluster; in a Pod its ServiceAccount is taken"},
	} {
		flags.StringVar(v.value, v.flag, "", v.help+" ["+v.name+"]")
		e.environment = append(e.environment, v.variable)
	}
	flags.StringVar(&e.goldmane.ServerName, "goldmane-server-name", "", "name in Goldmane's certificate, where it is reached by another: goldmane.calico-system.svc through a port-forward")
	flags.StringVar(&e.goldmane.MetricsURL, "goldmane-metrics", "", "what Goldmane counts, served where the Goldmane resource has a metricsPort, like http://127.0.0.1:9081/metrics")
	flags.StringVar(&e.as, "as", "", "whose rights in Kubernetes, if not yours: system:serviceaccount:goldtrail:goldtrail-collector")
	flags.StringVar(&e.collector.HealthURL, "collector", "", "the Collector's health_check, like http://127.0.0.1:13133")
	flags.StringVar(&e.collector.MetricsURL, "collector-metrics", "", "the Collector's own metrics, like http://127.0.0.1:8888/metrics")
	completeFiles(cmd, "goldmane-ca", "goldmane-cert", "goldmane-key", "kubeconfig")
	return cmd
}

// patient is what the flags and the environment name.
func (e *examined) patient(cmd *cobra.Command, a *app) (*doctor.Patient, error) {
	if a.connection.File != "" {
		return nil, usagef("'--file' has nothing to check: `%s` looks at what runs; leave it out", cmd.CommandPath())
	}
	for _, v := range e.environment {
		if !cmd.Flags().Changed(v.flag) {
			*v.value = a.getenv(v.name)
		}
	}
	for flag, address := range map[string]*string{
		"collector": &e.collector.HealthURL, "collector-metrics": &e.collector.MetricsURL, "goldmane-metrics": &e.goldmane.MetricsURL,
	} {
		if *address == "" {
			continue
		}
		if u, err := url.Parse(*address); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, usagef("'--%s' is %q: must be like %s", flag, *address, cmd.Flags().Lookup(flag).Usage[strings.LastIndex(cmd.Flags().Lookup(flag).Usage, " ")+1:])
		}
	}
	p := &doctor.Patient{Collector: &e.collector, Clock: a.clock}
	switch g := &e.goldmane; {
	case (g.CertFile == "") != (g.KeyFile == ""):
		return nil, usagef("'--goldmane-cert' and '--goldmane-key' go together: give both")
	case g.Endpoint != "":
		p.Goldmane = g
	case g.CAFile != "" || g.CertFile != "" || g.ServerName != "":
		return nil, usagef("there are files or a name for Goldmane, and no Goldmane: give --goldmane or GOLDMANE_ENDPOINT")
	case g.MetricsURL != "":
		p.Goldmane = g
	}
	client, err := a.connection.client(cmd.Context())
	if err != nil {
		return nil, err
	}
	client.Asked = a.asked.note
	if !cmd.Flags().Changed("patience") {
		client.Patience = -1 // to say at once what is wrong
	}
	p.Loki = &doctor.Loki{Client: client, Cluster: a.connection.Cluster}
	if p.Kubernetes, err = doctor.NewKubernetes(e.kubeconfig, e.as); err != nil {
		return nil, usagef("'--kubeconfig' is %q: %w", e.kubeconfig, err)
	}
	if e.as != "" && p.Kubernetes == nil {
		return nil, usagef("'--as' says whose rights, and no Kubernetes is named: give --kubeconfig or KUBECONFIG")
	}
	return p, nil
}

// verdict is the error of a report, nil if nothing has failed. Where Loki cannot be asked
// it is that error, which has an exit code of its own.
func verdict(r *doctor.Report) error {
	switch failed := r.Count[doctor.Failure]; {
	case r.LokiError != nil:
		return r.LokiError
	case failed == 1:
		return fmt.Errorf("1 of %d checks failed; its remedy is above", len(r.Checks))
	case failed > 1:
		return fmt.Errorf("%d of %d checks failed; the remedies are above", failed, len(r.Checks))
	}
	return nil
}

func (a *app) printReport(r *doctor.Report) error {
	if a.output == formatJSON {
		encoder := json.NewEncoder(a.out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	areas, names := 0, 0
	for i := range r.Checks {
		areas = max(areas, len(r.Checks[i].Area))
		names = max(names, len(r.Checks[i].Name))
	}
	var b strings.Builder
	for i := range r.Checks {
		c := &r.Checks[i]
		area := c.Area
		if i > 0 && r.Checks[i-1].Area == area {
			area = ""
		}
		before := fmt.Sprintf("%-*s  %-7s  %-*s  ", areas, area, c.Status, names, c.Name)
		a.paragraph(&b, colourOf(c.Status), before, c.Detail)
		if c.Remedy != "" {
			a.paragraph(&b, "", strings.Repeat(" ", len(before)), "→ "+c.Remedy)
		}
	}
	b.WriteByte('\n')
	a.say(&b, "%d checks: %d ok, %d with a warning, %d failed, %d skipped", len(r.Checks),
		r.Count[doctor.OK], r.Count[doctor.Warning], r.Count[doctor.Failure], r.Count[doctor.Skipped])
	_, err := io.WriteString(a.out, b.String())
	return err
}

// colourOf is that of a check's status.
func colourOf(status doctor.Status) string {
	switch status {
	case doctor.Failure:
		return red
	case doctor.Warning:
		return bold
	case doctor.Skipped:
		return dim
	default:
		return ""
	}
}
