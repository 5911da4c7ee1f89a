// private header
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/http_page.h"
#include "server/mutex.h"

struct mg_connection;
struct mg_context;

namespace vitower {

// HTTP for Prometheus, for probes and for people: http://ADDRESS/PATH for each of the pages. Not thread-safe; answers
// on threads of its own, so that neither load nor a slow page holds up another.
class MetricsEndpoint final {
 public:
  // UNAVAILABLE names the address and civetweb's reason. What the pages look at must outlive the endpoint.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Start(const std::string& address, HttpPages pages);
  ~MetricsEndpoint();
  MetricsEndpoint(const MetricsEndpoint&) = delete;
  MetricsEndpoint& operator=(const MetricsEndpoint&) = delete;

  int port() const { return port_; }

 private:
  MetricsEndpoint(HttpPages pages, std::string host) : pages_(std::move(pages)), host_(std::move(host)) {}
  static int ServePage(mg_connection* connection);
  static int OnMessage(const mg_connection* connection, const char* message);
  bool Open(const std::string& address);
  std::string Reason();

  const HttpPages pages_;
  const std::string host_;
  int port_ = 0;
  mg_context* context_ = nullptr;

  Mutex mu_;
  bool starting_ ABSL_GUARDED_BY(mu_) = true;
  std::vector<std::string> messages_ ABSL_GUARDED_BY(mu_);  // of the start
};

}  // namespace vitower
