// Command screenshots takes pictures of the page of examples/server in Chromium, for the documents. Run
// it in the root of the repository:
//
//	go run ./test/browser/screenshots
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/jwtauth-go/jwtauth/test/browser/internal/exampleserver"
)

const (
	folder  = "docs/pictures"
	maxSize = 150_000 // bytes
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatal("screenshots: ", err)
	}
}

func run(ctx context.Context) error {
	if _, err := os.Stat(folder); err != nil {
		return fmt.Errorf("the root of the repository is expected as the working directory: %w", err)
	}
	dir, err := os.MkdirTemp("", "screenshots")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program, err := exampleserver.Build(ctx, dir)
	if err != nil {
		return err
	}
	serverCtx, stop := context.WithCancel(ctx)
	server, err := exampleserver.Start(serverCtx, program)
	defer stop()
	if err != nil {
		return err
	}
	defer func() {
		stop()
		server.Wait()
	}()
	allocator, stopBrowser := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.UserAgent("Chromium on a laptop"), // the list of devices shows it
	)...)
	defer stopBrowser()
	page, closePage := chromedp.NewContext(allocator)
	defer closePage()
	return takeAll(page, server)
}

// takeAll takes all pictures.
func takeAll(ctx context.Context, server *exampleserver.Server) error {
	logIn := fmt.Sprintf(`{
		const form = document.getElementById("login");
		form.username.value = "alice"; form.password.value = %q;
		form.requestSubmit();
	}`, server.Passwords["alice"])
	return chromedp.Do(ctx,
		chromedp.EmulateViewport(760, 400), chromedp.Navigate(server.URL+"/"),
		waitFor("Nobody is logged in."), take("page-login.png"),
		script(logIn), waitFor("You have logged in."),
		press("call"), waitFor("The API knows you"),
		press("down"), waitFor("Nothing is lost"), waitFor("The access token was refreshed."), take("page-in.png"),
		press("copy"), waitFor("The thief has a copy"), press("twice"), waitFor("You have refreshed twice"),
		chromedp.EmulateViewport(360, 640), take("page-phone.png"), chromedp.EmulateViewport(760, 400),
		press("steal"), waitFor("Your session has ended."), take("page-theft.png"),
	)
}

func script(text string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](text, chromedp.EvalAwaitPromise)
}

func press(id string) chromedp.Action[chromedp.Void] {
	return script(fmt.Sprintf(`document.getElementById(%q).click()`, id))
}

// waitFor waits until the list of what has happened contains a text.
func waitFor(text string) chromedp.Action[chromedp.Void] {
	return script(fmt.Sprintf(`new Promise((done) => {
		const look = () => (document.getElementById("timeline").innerText.includes(%q) ? done() : setTimeout(look, 20));
		look();
	})`, text))
}

// take writes a picture of the whole page.
func take(name string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		if _, err := script(`document.activeElement?.blur(); scrollTo(0, 0); new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))`)(ctx, t); err != nil {
			return chromedp.Void{}, err
		}
		picture, err := chromedp.FullScreenshot(100)(ctx, t)
		if err == nil && len(picture) > maxSize {
			err = fmt.Errorf("%s has %d bytes, more than %d", name, len(picture), maxSize)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name), picture, 0o644)
		}
		return chromedp.Void{}, err
	}
}
