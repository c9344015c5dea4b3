// One file from memory with fasthttp, as in the comparison that kcup's author made: fasthttp-file HOST:PORT FILE.
package main

import (
	"log"
	"os"
	"path/filepath"
	"runtime"

	"github.com/valyala/fasthttp"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: fasthttp-file HOST:PORT FILE")
	}
	// One thread that runs Go code, like the one worker of the others.
	runtime.GOMAXPROCS(1)
	content, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	path := "/" + filepath.Base(os.Args[2])
	server := &fasthttp.Server{
		Name: "fasthttp-file",
		Handler: func(request *fasthttp.RequestCtx) {
			if string(request.Path()) != path {
				request.Error("not found", fasthttp.StatusNotFound)
				return
			}
			if !request.IsGet() && !request.IsHead() {
				request.Error("GET and HEAD only", fasthttp.StatusMethodNotAllowed)
				return
			}
			request.SetContentType("application/octet-stream")
			// SetBodyRaw refers to the content; SetBody would copy it for each answer.
			request.Response.SetBodyRaw(content)
		},
	}
	log.Fatal(server.ListenAndServe(os.Args[1]))
}
