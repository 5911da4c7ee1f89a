#include "server/metrics_endpoint.h"

#include <civetweb.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <future>
#include <string>
#include <string_view>
#include <utility>

#include "server/log.h"
#include "server/options.h"
#include "server/status.h"
#include "server/text.h"

// In place of glibc's, for the whole process: the packaged civetweb gives its threads 100 KiB, out of which glibc takes
// the thread-local data of every library. Those of CUDA alone are larger, and then no thread of civetweb can start.
extern "C" int pthread_attr_setstacksize(pthread_attr_t* attributes, size_t bytes) noexcept {
  constexpr size_t kSmallest = 1 << 20;  // of address space
  static const auto real =
      reinterpret_cast<decltype(&pthread_attr_setstacksize)>(dlsym(RTLD_NEXT, "pthread_attr_setstacksize"));
  return real(attributes, std::max(bytes, kSmallest));
}

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

int Reply(mg_connection* connection, int code, std::string_view headers, std::string_view body) {
  const std::string head =
      Cat("HTTP/1.1 ", code, " ", mg_get_response_code_text(connection, code), "\r\n", headers,
          "Content-Length: ", body.size(), "\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n");
  mg_write(connection, head.data(), head.size());
  if (std::string_view(mg_get_request_info(connection)->request_method) != "HEAD") {
    mg_write(connection, body.data(), body.size());
  }
  return code;
}

HttpPage MakePage(const std::function<HttpPage(std::string_view)>& page, std::string_view query) {
  try {
    return page(query);
  } catch (const std::exception& error) {
    Log(LogLevel::kError, Cat("a page of the metrics port failed: ", error.what()));
    return HttpPage{500, "", ""};
  }
}

}  // namespace

// civetweb asks here first. Never 0, which would leave the request to its own handlers.
int MetricsEndpoint::ServePage(mg_connection* connection) {
  const mg_request_info* request = mg_get_request_info(connection);
  const HttpPages& pages = static_cast<MetricsEndpoint*>(mg_get_user_data(mg_get_context(connection)))->pages_;
  const auto found = pages.find(std::string_view(request->local_uri != nullptr ? request->local_uri : ""));
  if (found == pages.end()) return Reply(connection, 404, "", "");
  const std::string_view method = request->request_method;
  if (method != "GET" && method != "HEAD") return Reply(connection, 405, "Allow: GET, HEAD\r\n", "");
  const HttpPage page = MakePage(found->second, request->query_string != nullptr ? request->query_string : "");
  return Reply(connection, page.code, page.headers, page.body);
}

// Kept while civetweb starts, and not written anywhere: later it tells what strangers do wrong.
int MetricsEndpoint::OnMessage(const mg_connection* connection, const char* message) {
  const mg_context* context = mg_get_context(connection);
  if (context == nullptr || mg_get_user_data(context) == nullptr) return 1;
  MetricsEndpoint& endpoint = *static_cast<MetricsEndpoint*>(mg_get_user_data(context));
  MutexLock lock(endpoint.mu_);
  if (endpoint.starting_) endpoint.messages_.emplace_back(message);
  return 1;
}

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(const std::string& address, HttpPages pages) {
  absl::StatusOr<Address> parsed = ParseAddress("--metrics-listen", address);
  if (!parsed.ok()) return parsed.status();
  std::unique_ptr<MetricsEndpoint> endpoint(new MetricsEndpoint(std::move(pages), parsed->host));
  if (endpoint->Open(address)) return endpoint;
  return MakeStatus(Fault::kNotReady,
                    Cat("cannot serve metrics on ", address, " (--metrics-listen): ", endpoint->Reason()));
}

std::string MetricsEndpoint::Reason() {
  MutexLock lock(mu_);
  std::string reason;
  for (const std::string& message : messages_) reason += reason.empty() ? message : "; " + message;
  return reason.empty() ? "is the port in use, or the address not this machine's?" : reason;
}

bool MetricsEndpoint::Open(const std::string& address) {
  mg_callbacks callbacks{};
  callbacks.begin_request = ServePage;
  callbacks.log_message = OnMessage;
  // Each open connection takes a thread until it asks for something: a few that never do must not stop the scrapes.
  const char* options[] = {"listening_ports",
                           address.c_str(),
                           "num_threads",
                           "8",
                           "request_timeout_ms",
                           "2000",
                           "enable_keep_alive",
                           "no",
                           nullptr};
  context_ = mg_start(&callbacks, this, options);
  {
    MutexLock lock(mu_);
    starting_ = false;
  }
  if (context_ == nullptr) return false;
  mg_server_port port{};
  mg_get_server_ports(context_, 1, &port);
  port_ = port.port;
  return true;
}

// The listening thread of civetweb looks whether it should end only every 2 s and when a connection comes.
MetricsEndpoint::~MetricsEndpoint() {
  if (context_ == nullptr) return;
  const std::future<void> stopped = std::async(std::launch::async, [this] { mg_stop(context_); });
  while (stopped.wait_for(std::chrono::milliseconds(10)) != std::future_status::ready) Knock(host_, port_);
}

}  // namespace vitower
