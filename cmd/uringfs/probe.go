//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/uringfs/uringfs/uringbackend"
)

func probeCommand() *cobra.Command {
	var asJSON bool
	var dir string
	cmd := &cobra.Command{
		Use: "probe", Short: "what this kernel can do, what uses it, and what happens without", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			type row struct {
				Ability  string `json:"ability"`
				Answer   string `json:"answer"`
				Since    string `json:"since"`
				Why      string `json:"why"`
				UsedBy   string `json:"used_by"`
				Fallback string `json:"fallback"`
			}
			features := uringbackend.Probe(dir)
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			if !asJSON {
				fmt.Fprintln(table, "ability\tanswer\tsince\tused by\twithout it\twhy")
			}
			for r := range features.Rows() {
				out := row{Ability: r.Name, Answer: r.Answer.String(), Since: r.Since, UsedBy: r.UsedBy, Fallback: r.Fallback}
				if r.Why != nil {
					out.Why = r.Why.Error()
				}
				if asJSON {
					if err := json.NewEncoder(cmd.OutOrStdout()).Encode(out); err != nil {
						return err
					}
					continue
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", out.Ability, out.Answer, out.Since, out.UsedBy, out.Fallback, out.Why)
			}
			if err := table.Flush(); err != nil {
				return err
			}
			return printPolicy(cmd.OutOrStdout(), features, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one object a line")
	cmd.Flags().StringVar(&dir, "dir", "", "a directory of the file system to ask about")
	return cmd
}

// printPolicy says how an engine on this kernel would carry each verb out, and why.
func printPolicy(w io.Writer, features uringbackend.Features, asJSON bool) (err error) {
	engine, err := uringbackend.Open("auto", features, uringbackend.Config{Rings: 1, Entries: 8})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	type row struct {
		Verb string `json:"verb"`
		Road string `json:"road"`
		Why  string `json:"why"`
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if !asJSON {
		fmt.Fprintln(table, "\nverb\troad\twhy")
	}
	for _, p := range engine.Policy() {
		out := row{Verb: p.Verb, Road: p.Road.String(), Why: p.Why}
		if asJSON {
			if err := json.NewEncoder(w).Encode(out); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", out.Verb, out.Road, out.Why)
	}
	return table.Flush()
}
