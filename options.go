package jwtauth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jwtauth-go/jwtauth/internal/bound"
	"github.com/jwtauth-go/jwtauth/internal/env"
	"github.com/jwtauth-go/jwtauth/internal/errtext"
)

// The defaults and bounds of the options of this package. Package bound has those that
// other packages use, too.
const (
	defaultSessionTTL   = 30 * 24 * time.Hour
	defaultRecoverLost  = 24 * time.Hour
	maxSessionLimit     = 1000
	defaultRefreshGrace = 10 * time.Second
	minRefreshGrace     = 4 * time.Second
	maxRefreshGrace     = time.Minute
	defaultLeeway       = 30 * time.Second
	defaultMaxLifetime  = 24*time.Hour + 5*time.Minute // and Leeway. Some providers set iat five minutes back
	defaultTokenBytes   = 16 << 10                     // of verifiers
	maxIssuedBytes      = 8 << 10                      // of an issuer
	maxTokenBytes       = 1 << 20
	defaultCacheSize    = 1 << 14
	maxCacheSize        = 1 << 24
	maxRequiredClaims   = 64

	// maxPooled is the largest capacity of a buffer that goes back into a pool, in bytes.
	maxPooled = 16 << 10
)

// refreshAudienceSuffix is the end of the aud claim of a refresh token, after the name of
// the issuer. No API can have such a name (see checkAudiencesOption), so no API accepts a
// refresh token.
const refreshAudienceSuffix = "#refresh"

// hasDuplicate reports whether an element is in the list twice.
func hasDuplicate(list []string) bool {
	for i, s := range list {
		if slices.Contains(list[:i], s) {
			return true
		}
	}
	return false
}

// namesFromEnv fills an empty issuer and, if they are needed, empty audiences from the environment.
func namesFromEnv(issuer *string, audiences *[]string, needsAudiences bool) (err error) {
	const example = ", such as https://api.example.com"
	if *issuer == "" {
		if *issuer, err = env.Value(issuerVariable, "the name of the issuer"+example); err == nil {
			err = inVariable(issuerVariable, bound.CheckIssuer(*issuer))
		}
	}
	if err == nil && len(*audiences) == 0 && needsAudiences {
		if *audiences, err = env.List(audiencesVariable, "the names of the services that tokens are for, with commas between them"+example); err == nil {
			err = inVariable(audiencesVariable, checkAudiences(*audiences))
		}
	}
	if err != nil {
		return fmt.Errorf("jwtauth: %w", err)
	}
	return nil
}

// The environment variables of namesFromEnv.
const (
	issuerVariable    = "JWTAUTH_ISSUER"
	audiencesVariable = "JWTAUTH_AUDIENCES"
)

// inVariable adds the name of the environment variable that has a wrong value to an error.
func inVariable(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the environment variable %s: %w", name, err)
}

func checkIssuerOption(name string) error {
	if err := bound.CheckIssuer(name); err != nil {
		return fmt.Errorf("jwtauth: %w", err)
	}
	return nil
}

func checkAudiencesOption(names []string) error {
	if err := checkAudiences(names); err != nil {
		return fmt.Errorf("jwtauth: %w", err)
	}
	return nil
}

// checkAudiences returns an error unless names can be the audiences of an issuer or a verifier.
func checkAudiences(names []string) error {
	if len(names) == 0 {
		return errors.New("Audiences are missing: the services that the tokens are for, e.g. https://api.example.com")
	}
	if hasDuplicate(names) {
		return fmt.Errorf("Audiences: one of %s is there twice", errtext.QuoteList(names))
	}
	for _, name := range names {
		if err := bound.CheckName("Audiences", name); err != nil {
			return err
		}
		if strings.HasSuffix(name, refreshAudienceSuffix) {
			return fmt.Errorf("Audiences: %s is the audience of refresh tokens, which are for no API", errtext.Quote(name))
		}
	}
	return nil
}
