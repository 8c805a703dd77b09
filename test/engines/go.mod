module github.com/jwtauth-go/jwtauth/test/engines

go 1.26.0
