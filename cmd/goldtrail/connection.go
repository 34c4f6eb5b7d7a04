package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.opentelemetry.io/collector/config/configtls"
	"go.yaml.in/yaml/v3"

	"github.com/goldtrail/goldtrail/internal/trail"
)

// connection says where the trail is read from. A flag comes before the environment, and
// that before the configuration file.
type connection struct {
	Addr            string `yaml:"addr"`
	Username        string `yaml:"username"`
	Password        string `yaml:"password"`
	BearerToken     string `yaml:"bearer_token"`
	BearerTokenFile string `yaml:"bearer_token_file"`
	OrgID           string `yaml:"org_id"`
	CAFile          string `yaml:"ca_file"`
	CertFile        string `yaml:"cert_file"`
	KeyFile         string `yaml:"key_file"`
	SkipVerify      bool   `yaml:"tls_skip_verify"`
	Cluster         string `yaml:"cluster"`

	File     string        `yaml:"-"`
	Patience time.Duration `yaml:"-"`
	config   string
}

const defaultAddr = "http://127.0.0.1:3100"

// setting is one of a connection's, with its flag and, where it has one, its variable of
// the environment: those that logcli has.
type setting struct {
	flag, variable, help string
	value                *string
}

func (c *connection) settings() []setting {
	return []setting{
		{"addr", "LOKI_ADDR", "Loki's address (" + defaultAddr + ")", &c.Addr},
		{"username", "LOKI_USERNAME", "user for basic authentication", &c.Username},
		{"password", "LOKI_PASSWORD", "password; better in LOKI_PASSWORD, where no list of processes shows it", &c.Password},
		{"bearer-token", "LOKI_BEARER_TOKEN", "token; better in LOKI_BEARER_TOKEN", &c.BearerToken},
		{"bearer-token-file", "LOKI_BEARER_TOKEN_FILE", "file with the token", &c.BearerTokenFile},
		{"org-id", "LOKI_ORG_ID", "tenant, sent as X-Scope-OrgID", &c.OrgID},
		{"ca-cert", "LOKI_CA_CERT_PATH", "CA of Loki's certificate, PEM", &c.CAFile},
		{"cert", "LOKI_CLIENT_CERT_PATH", "client certificate, PEM", &c.CertFile},
		{"key", "LOKI_CLIENT_KEY_PATH", "key of the client certificate, PEM", &c.KeyFile},
		{"cluster", "GOLDTRAIL_CLUSTER", "cluster (k8s.cluster.name), where several share a Loki", &c.Cluster},
	}
}

const (
	skipVerifyFlag     = "tls-skip-verify"
	skipVerifyVariable = "LOKI_TLS_SKIP_VERIFY"
	configVariable     = "GOLDTRAIL_CONFIG"
)

func (c *connection) register(flags *pflag.FlagSet) {
	for _, s := range c.settings() {
		flags.StringVar(s.value, s.flag, "", s.help+" ["+s.variable+"]")
	}
	flags.BoolVar(&c.SkipVerify, skipVerifyFlag, false, "accept any certificate of Loki ["+skipVerifyVariable+"]")
	flags.StringVar(&c.config, "config", "", "configuration file (goldtrail/config.yaml in your configuration folder) ["+configVariable+"]")
	flags.DurationVar(&c.Patience, "patience", time.Minute, "how long to ask again while Loki is busy or fails; 0s not at all")
	flags.StringVar(&c.File, "file", "", "read a file of the Collector's file exporter instead of a Loki")
	refuseEmpty(flags, "addr", "cluster", "config", "file") // the others, empty, turn their variable off
}

// complete fills in what no flag says.
func (c *connection) complete(e *environment, changed func(flag string) bool) error {
	var fromFile connection
	path, asked := c.config, c.config != ""
	if !asked {
		path, asked = e.getenv(configVariable), e.getenv(configVariable) != ""
	}
	if !asked {
		if dir, err := configFolder(e); err == nil {
			path = filepath.Join(dir, "goldtrail", "config.yaml")
		}
	}
	if path != "" {
		if err := fromFile.read(path); err != nil && (asked || !errors.Is(err, fs.ErrNotExist)) {
			return usagef("configuration file: %w", err)
		}
	}
	theirs := fromFile.settings()
	for i, s := range c.settings() {
		switch variable := e.getenv(s.variable); {
		case changed(s.flag):
		case variable != "":
			*s.value = variable
		default:
			*s.value = *theirs[i].value
		}
	}
	if !changed(skipVerifyFlag) {
		c.SkipVerify = fromFile.SkipVerify
		if text := e.getenv(skipVerifyVariable); text != "" {
			skip, err := strconv.ParseBool(text)
			if err != nil {
				return usagef("%s is %q: must be true or false", skipVerifyVariable, text)
			}
			c.SkipVerify = skip
		}
	}
	c.Addr = c.address(e)
	return c.check(changed)
}

func configFolder(e *environment) (string, error) {
	if dir := e.getenv("XDG_CONFIG_HOME"); dir != "" {
		return dir, nil
	}
	if home := e.getenv("HOME"); home != "" {
		return filepath.Join(home, ".config"), nil
	}
	return "", errors.New("no home folder")
}

func (c *connection) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	decoder := yaml.NewDecoder(f)
	decoder.KnownFields(true)
	err = decoder.Decode(c)
	var wrong *yaml.TypeError
	switch {
	case errors.Is(err, io.EOF): // it is empty
		return nil
	case errors.As(err, &wrong):
		text := strings.ReplaceAll(strings.Join(wrong.Errors, "; "), "field ", "the key ")
		return fmt.Errorf("%s: %s; it may have: %s", path, strings.ReplaceAll(text, " not found in type main.connection", " is not known"), strings.Join(configKeys, ", "))
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// configKeys are the keys of the configuration file.
var configKeys = []string{"addr", "username", "password", "bearer_token", "bearer_token_file", "org_id", "ca_file", "cert_file", "key_file", "tls_skip_verify", "cluster"}

func (c *connection) address(e *environment) string {
	if c.Addr != "" {
		return c.Addr
	}
	if addr := e.getenv("LOKI_ADDR"); addr != "" {
		return addr
	}
	return defaultAddr
}

func (c *connection) check(changed func(flag string) bool) error {
	if c.File != "" && changed("addr") {
		return usagef("'--file' and '--addr' contradict each other: the trail is read from one of them")
	}
	if c.Patience < 0 {
		return usagef("'--patience' is %s: must not be negative", c.Patience)
	}
	if c.Password != "" && c.Username == "" {
		return usagef("there is a password without a user: give --username or LOKI_USERNAME")
	}
	if c.BearerToken != "" && c.BearerTokenFile != "" {
		return usagef("'--bearer-token' and '--bearer-token-file' contradict each other: give one")
	}
	if c.Username != "" && (c.BearerToken != "" || c.BearerTokenFile != "") {
		return usagef("a user and a bearer token contradict each other: Loki is sent one of them")
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return usagef("'--cert' and '--key' go together: give both for mutual TLS, or none")
	}
	u, err := url.Parse(c.Addr)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return usagef("'--addr' is %q: must be like %s", c.Addr, defaultAddr)
	}
	return nil
}

func (c *connection) authorized() bool {
	return c.Username != "" || c.BearerToken != "" || c.BearerTokenFile != "" || c.OrgID != ""
}

// credentials says what Loki is shown, without showing it.
func (c *connection) credentials() string {
	var list []string
	if c.Username != "" {
		list = append(list, fmt.Sprintf("user %q", c.Username))
	}
	if c.BearerToken != "" || c.BearerTokenFile != "" {
		list = append(list, "the bearer token")
	}
	if c.OrgID != "" {
		list = append(list, fmt.Sprintf("tenant %q", c.OrgID))
	}
	if len(list) == 0 {
		return "nobody"
	}
	return strings.Join(list, " and ")
}

// client is a client of Loki.
func (c *connection) client(ctx context.Context) (*trail.Client, error) {
	header := http.Header{}
	header.Set("User-Agent", "goldtrail")
	token := c.BearerToken
	if c.BearerTokenFile != "" {
		b, err := os.ReadFile(c.BearerTokenFile)
		if err != nil {
			return nil, usagef("'--bearer-token-file': %w", err)
		}
		token = strings.TrimSpace(string(b))
	}
	switch {
	case token != "":
		header.Set("Authorization", "Bearer "+token)
	case c.Username != "":
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password)))
	}
	if c.OrgID != "" {
		header.Set("X-Scope-OrgID", c.OrgID)
	}
	files := configtls.NewDefaultClientConfig()
	files.CAFile, files.CertFile, files.KeyFile, files.InsecureSkipVerify = c.CAFile, c.CertFile, c.KeyFile, c.SkipVerify
	tlsConfig, err := files.LoadTLSConfig(ctx)
	if err != nil {
		return nil, usagef("TLS: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = tlsConfig
	transport.MaxIdleConnsPerHost = 16
	patience := c.Patience
	if patience == 0 {
		patience = -1 // once
	}
	return &trail.Client{URL: c.Addr, Header: header, Patience: patience, HTTP: &http.Client{Transport: transport}}, nil
}
