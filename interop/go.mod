module github.com/jwtauth-go/jwtauth/interop

go 1.26.0

require github.com/jwtauth-go/jwtauth v0.0.0

replace github.com/jwtauth-go/jwtauth => ../
