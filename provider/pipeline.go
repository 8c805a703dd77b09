package provider

import (
	"strings"

	"github.com/jwtauth-go/jwtauth"
	"github.com/jwtauth-go/jwtauth/internal/claimrule"
	"github.com/jwtauth-go/jwtauth/internal/strictjson"
)

// GitHubActions is for the OIDC tokens of jobs of GitHub Actions, for one repository. audience is
// what the job asks for; by default https://github.com/OWNER. repositoryID is a number, since
// another user can take the name of a repository. refs look like refs/heads/main. If there are
// none, all branches and tags are accepted.
//
// The check: repository_id is the repository. If refs are given, ref is one of them. If none are
// given, ref is a branch or a tag; the ref of a pull request is neither. All of GitHub has one
// issuer, and every job chooses its aud.
//
// Form: GitHub Docs, "OpenID Connect reference".
func GitHubActions(audience, repositoryID string, refs ...string) Provider {
	p := newProvider("GitHubActions", "", "https://token.actions.githubusercontent.com")
	p.needs("audience", audience)
	if p.needsNumber("repositoryID", repositoryID); len(refs) > 0 {
		p.needs("a ref", refs...)
		p.rules = append(p.rules, isOneOf("ref", refs...))
	} else {
		p.rules = append(p.rules, isBranchOrTag())
	}
	p.Options = jwtauth.VerifierOptions{Audiences: []string{audience}, AcceptTypJWT: true}
	p.rules = append(p.rules, isOneOf("repository_id", repositoryID))
	return p
}

// GitLabCI is for the ID tokens of jobs of GitLab CI/CD, for one project. instanceURL looks like
// https://gitlab.com. audience is what the job asks for. projectID is a number. branches look like
// main. If there are none, all protected branches and tags are accepted.
//
// The check: project_id is the project. If branches are given, ref is one of them and ref_type is
// branch. If none are given, ref_protected is true. pipeline_source is not a merge request: its
// ref is the source branch, whose name its author chose, perhaps in a fork. Logins of GitLab have
// the same issuer and keys, and no project_id.
//
// Form: GitLab Docs, "OpenID Connect (OIDC) Authentication Using ID Tokens".
func GitLabCI(instanceURL, audience, projectID string, branches ...string) Provider {
	p := newProvider("GitLabCI", "", instanceURL)
	p.needsURL("instanceURL", instanceURL, "https://gitlab.com")
	p.needs("audience", audience)
	p.needsNumber("projectID", projectID)
	p.Options = jwtauth.VerifierOptions{Audiences: []string{audience}, AcceptTypJWT: true}
	p.rules = append(p.rules, isOneOf("project_id", projectID), isNotOneOf("pipeline_source", "merge_request_event", "external_pull_request_event"))
	if len(branches) == 0 {
		p.rules = append(p.rules, isTrue("ref_protected"))
		return p
	}
	p.needs("a branch", branches...)
	p.rules = append(p.rules, isOneOf("ref", branches...), isOneOf("ref_type", "branch"))
	return p
}

// Bitbucket is for the OIDC tokens of steps of Bitbucket Pipelines, for one repository. The UUIDs
// may be in braces or not.
//
// The check: repositoryUuid is the repository. All repositories of the workspace have one issuer
// and one aud.
//
// Form: Bitbucket Cloud documentation, "Integrate Pipelines with resource servers using OIDC".
func Bitbucket(workspace, workspaceUUID, repositoryUUID string) Provider {
	p := newProvider("Bitbucket", "", "https://api.bitbucket.org/2.0/workspaces/"+workspace+"/pipelines-config/identity/oidc")
	p.needsHost("workspace", workspace, "my-team")
	bare := func(uuid string) string { return strings.TrimSuffix(strings.TrimPrefix(uuid, "{"), "}") }
	p.needs("workspaceUUID", bare(workspaceUUID))
	p.needs("repositoryUUID", bare(repositoryUUID))
	p.Options = jwtauth.VerifierOptions{Audiences: []string{"ari:cloud:bitbucket::workspace/" + bare(workspaceUUID)}, AcceptNoTyp: true, AcceptTypJWT: true}
	p.rules = append(p.rules, isOneOf("repositoryUuid", "{"+bare(repositoryUUID)+"}"))
	return p
}

// CircleCI is for the OIDC tokens of jobs of CircleCI, for one project. The aud of a token is
// organizationID, unless the job asks for another one: change Options.Audiences then. origins are the
// repositories whose code may run, as in github.com/org/repository.
//
// The check: oidc.circleci.com/project-id is the project, oidc.circleci.com/vcs-origin is one of
// origins, and oidc.circleci.com/ssh-rerun is not true. A project that gives secrets to forks also
// gives them tokens, and only the origin distinguishes those.
//
// Form: CircleCI Docs, "Using OpenID Connect tokens in jobs".
func CircleCI(organizationID, projectID string, origins ...string) Provider {
	p := newProvider("CircleCI", "", "https://oidc.circleci.com/org/"+organizationID)
	p.needsHost("organizationID", organizationID, exampleTenant)
	p.needs("projectID", projectID)
	p.needs("an origin", origins...)
	p.Options = jwtauth.VerifierOptions{Audiences: []string{organizationID}, AcceptTypJWT: true}
	p.rules = append(p.rules, isOneOf("oidc.circleci.com/project-id", projectID), isOneOf("oidc.circleci.com/vcs-origin", origins...), isNotTrue("oidc.circleci.com/ssh-rerun"))
	return p
}

// isBranchOrTag demands that ref is a branch or a tag. The ref of a pull request is refs/pull/1/merge.
func isBranchOrTag() claimrule.Rule {
	return rule("ref", "refs/heads/… or refs/tags/…", func(v strictjson.Value) bool {
		s, _ := v.Str()
		return strings.HasPrefix(s, "refs/heads/") || strings.HasPrefix(s, "refs/tags/")
	})
}

// needsNumber notes a mistake if an argument is not a number without a sign.
func (p *Provider) needsNumber(what, value string) {
	if value == "" || strings.Trim(value, "0123456789") != "" {
		p.mistakes("%s is %q, a number is expected", what, value)
	}
}
