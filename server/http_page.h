// private header
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace vitower {

// What a path of the metrics port answers to GET.
struct HttpPage {
  int code = 200;
  std::string headers = "Content-Type: text/plain; charset=utf-8\r\n";  // further ones, each with its line end
  std::string body;
};

// By path; `query` is what stands behind the "?". Called on the endpoint's threads, several at once.
using HttpPages = std::map<std::string, std::function<HttpPage(std::string_view query)>, std::less<>>;

}  // namespace vitower
