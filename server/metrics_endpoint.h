// private header
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/http_page.h"

struct mg_context;

namespace vitower {

// HTTP for Prometheus, for probes and for people: http://ADDRESS/PATH for each of the pages. Not thread-safe; answers
// on threads of its own, so that neither load nor a slow page holds up another.
class MetricsEndpoint final {
 public:
  // UNAVAILABLE names the address. What the pages look at must outlive the endpoint.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Start(const std::string& address, HttpPages pages);
  ~MetricsEndpoint();
  MetricsEndpoint(const MetricsEndpoint&) = delete;
  MetricsEndpoint& operator=(const MetricsEndpoint&) = delete;

  int port() const { return port_; }

 private:
  MetricsEndpoint(HttpPages pages, std::string host) : pages_(std::move(pages)), host_(std::move(host)) {}
  bool Open(const std::string& address);

  const HttpPages pages_;
  const std::string host_;
  int port_ = 0;
  mg_context* context_ = nullptr;
};

}  // namespace vitower
