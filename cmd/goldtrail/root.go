package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// app is one run of the command.
type app struct {
	*environment
	connection connection
	output     string
	explain    bool
	asked      asked
	progress   progress
}

// version is what the Makefile says.
var version = "dev"

const about = `goldtrail answers questions from the trail: which Service talks to which, since when,
whether it may, and how complete the answer is.`

const examples = `  goldtrail edges --since 1h --denied          what was denied in the last hour
  goldtrail peers payments --since 7d          who talks to payments, and to whom it talks
  goldtrail coverage --since 24h               how complete the trail is`

// run runs the command and returns its exit code.
func run(ctx context.Context, e *environment, args []string) int {
	a := &app{environment: e}
	root := a.command() //nolint:contextcheck // cobra hands ctx to each verb
	root.SetArgs(args)
	root.SetOut(e.out)
	root.SetErr(e.err)
	err := root.ExecuteContext(ctx)
	a.progress.done()
	if a.explain {
		a.asked.print(e.err)
	}
	if err == nil {
		return exitAnswered
	}
	code, message := explainError(ctx, err, &a.connection)
	if message != "" {
		fmt.Fprintln(e.err, "goldtrail: "+message)
	}
	return code
}

// command is the whole command. A verb of its own is one more line here.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "goldtrail",
		Version:       version,
		Short:         "Answers from the trail: which Service talks to which",
		Long:          about,
		Example:       examples,
		Args:          wrongArgs(cobra.NoArgs),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.connection.complete(a.environment, cmd.Flags().Changed); err != nil {
				fmt.Fprintln(a.err, "note: "+err.Error())
			}
			_, err := fmt.Fprintf(a.out, "%s\n\n%s\n\n%s\n\nLoki is found at --addr or LOKI_ADDR (now %s). `goldtrail --help` lists everything.\n",
				about, examples, verbs(cmd), a.connection.address(a.environment))
			return err
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if _, asks := cmd.Annotations[formats]; !asks {
				return nil // completion is run by shells that start, whatever the variables say
			}
			if err := a.checkOutput(cmd); err != nil {
				return err
			}
			return a.connection.complete(a.environment, cmd.Flags().Changed)
		},
	}
	root.SetFlagErrorFunc(wrongFlag)
	flags := root.PersistentFlags()
	a.connection.register(flags)
	flags.StringVarP(&a.output, "output", "o", formatTable, "table, json, csv, mermaid or dot")
	flags.BoolVar(&a.explain, "explain", false, "tell the LogQL that was asked, on standard error")
	root.AddCommand(a.edgesCommand(), a.peersCommand(), a.flowsCommand(), a.diffCommand(), a.coverageCommand(), a.doctorCommand())
	must(root.RegisterFlagCompletionFunc("output", func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return formatsOf(cmd), cobra.ShellCompDirectiveNoFileComp
	}))
	// Services, times and clusters are no files.
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	completeFiles(root, "file", "config", "ca-cert", "cert", "key", "bearer-token-file")
	return root
}

// verbs lists the commands in a few words.
func verbs(root *cobra.Command) string {
	var b strings.Builder
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			fmt.Fprintf(&b, "  %-11s %s\n", c.Name(), c.Short)
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// formats are the outputs that a command has, beside the table and JSON; the annotation of
// every command that asks something.
const formats = "formats"

func formatsOf(cmd *cobra.Command) []string {
	return append([]string{formatTable, formatJSON}, strings.Fields(cmd.Annotations[formats])...)
}

// checkOutput refuses a format that the command does not have, before anything is asked.
func (a *app) checkOutput(cmd *cobra.Command) error {
	can := formatsOf(cmd)
	if !slices.Contains(can, a.output) {
		return usagef("'--output' is %q: `%s` has %s", a.output, cmd.CommandPath(), strings.Join(can, ", "))
	}
	return nil
}

// must is for what can only fail if this program is wrong.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
