#include "server/metrics_endpoint.h"

#include <CivetServer.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <exception>
#include <future>
#include <string_view>
#include <utility>

#include "server/options.h"
#include "server/status.h"
#include "server/status_page.h"
#include "server/text.h"

namespace vitower {
namespace {

// Opens a connection and closes it.
void Knock(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return;
  const int fd = socket(found->ai_family, found->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, found->ai_protocol);
  if (fd >= 0) {
    (void)connect(fd, found->ai_addr, found->ai_addrlen);
    close(fd);
  }
  freeaddrinfo(found);
}

// What the page may do: run what stands in it, and ask this server.
constexpr std::string_view kPageHeaders =
    "Content-Type: text/html; charset=utf-8\r\n"
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n";

int Reply(mg_connection* connection, int code, std::string_view reason, std::string_view headers,
          std::string_view body) {
  const std::string head = Cat("HTTP/1.1 ", code, " ", reason, "\r\n", headers, "Content-Length: ", body.size(),
                               "\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n");
  mg_write(connection, head.data(), head.size());
  if (std::string_view(mg_get_request_info(connection)->request_method) != "HEAD") {
    mg_write(connection, body.data(), body.size());
  }
  return code;
}

// civetweb asks here first; 0 leaves the request to the exposer's handlers.
int ServePage(mg_connection* connection) {
  const mg_request_info* request = mg_get_request_info(connection);
  if (request->local_uri == nullptr || std::string_view(request->local_uri) != "/") return 0;
  const std::string_view method = request->request_method;
  if (method != "GET" && method != "HEAD") {
    return Reply(connection, 405, "Method Not Allowed", "Allow: GET, HEAD\r\n", "");
  }
  return Reply(connection, 200, "OK", kPageHeaders, StatusPage());
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(
    const std::string& address, const std::vector<std::shared_ptr<prometheus::Collectable>>& collectables) {
  absl::StatusOr<Address> parsed = ParseAddress("--metrics-listen", address);
  if (!parsed.ok()) return parsed.status();
  try {
    CivetCallbacks callbacks;
    callbacks.begin_request = ServePage;
    // Each open connection takes a thread until it asks for something: a few that never do must not stop the scrapes.
    auto exposer = std::make_unique<prometheus::Exposer>(
        std::vector<std::string>{"listening_ports", address, "num_threads", "8", "request_timeout_ms", "2000",
                                 "enable_keep_alive", "no"},
        &callbacks);
    for (const auto& collectable : collectables) exposer->RegisterCollectable(collectable);
    const int port = exposer->GetListeningPorts().at(0);
    return std::unique_ptr<MetricsEndpoint>(new MetricsEndpoint(std::move(exposer), parsed->host, port));
  } catch (const std::exception& error) {
    return MakeStatus(Fault::kNotReady, Cat("cannot serve metrics on ", address, " (--metrics-listen): ", error.what(),
                                            "; is the port in use, or the address not this machine's?"));
  }
}

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<prometheus::Exposer> exposer, std::string host, int port)
    : exposer_(std::move(exposer)), host_(std::move(host)), port_(port) {}

// The listening thread of civetweb looks whether it should end only every 2 s and when a connection comes.
MetricsEndpoint::~MetricsEndpoint() {
  const std::future<void> stopped = std::async(std::launch::async, [this] { exposer_.reset(); });
  while (stopped.wait_for(std::chrono::milliseconds(10)) != std::future_status::ready) Knock(host_, port_);
}

}  // namespace vitower
