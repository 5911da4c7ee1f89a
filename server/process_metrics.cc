#include "server/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "prometheus/client_metric.h"
#include "prometheus/metric_family.h"
#include "prometheus/metric_type.h"

namespace vitower {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily Family(std::string name, std::string help, MetricType type, double value) {
  prometheus::ClientMetric metric;
  (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  MetricFamily family;
  family.name = std::move(name);
  family.help = std::move(help);
  family.type = type;
  family.metric.push_back(std::move(metric));
  return family;
}

// Fields of /proc/self/stat, numbered as in proc(5), from 3 on; what stands before is a name that may hold blanks.
class ProcStat final {
 public:
  ProcStat() {
    std::ifstream file("/proc/self/stat");
    const std::string line(std::istreambuf_iterator<char>(file), {});
    std::istringstream rest(line.substr(line.rfind(')') == std::string::npos ? 0 : line.rfind(')') + 1));
    for (std::string field; rest >> field;) fields_.push_back(field);
  }

  double Field(size_t number) const {
    const size_t index = number - 3;
    return index < fields_.size() ? std::strtod(fields_[index].c_str(), nullptr) : 0;
  }

 private:
  std::vector<std::string> fields_;
};

double BootTimeSeconds() {
  std::ifstream file("/proc/stat");
  for (std::string key; file >> key;) {
    double value = 0;
    if (key == "btime" && file >> value) return value;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

double OpenFiles() {
  std::error_code error;
  std::filesystem::directory_iterator files("/proc/self/fd", error);
  return error ? 0 : static_cast<double>(std::distance(begin(files), end(files)));
}

double MaxOpenFiles() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<double>(limit.rlim_cur) : 0;
}

class ProcessMetrics final : public prometheus::Collectable {
 public:
  std::vector<MetricFamily> Collect() const override {
    const ProcStat stat;
    const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
    const double page_bytes = static_cast<double>(sysconf(_SC_PAGESIZE));
    return {
        Family("process_cpu_seconds_total", "User and system CPU time.", MetricType::Counter,
               (stat.Field(14) + stat.Field(15)) / ticks),
        Family("process_resident_memory_bytes", "Resident memory.", MetricType::Gauge, stat.Field(24) * page_bytes),
        Family("process_virtual_memory_bytes", "Virtual memory.", MetricType::Gauge, stat.Field(23)),
        Family("process_start_time_seconds", "Start of the process, since the epoch.", MetricType::Gauge,
               BootTimeSeconds() + stat.Field(22) / ticks),
        Family("process_threads", "Threads.", MetricType::Gauge, stat.Field(20)),
        Family("process_open_fds", "Open file descriptors.", MetricType::Gauge, OpenFiles()),
        Family("process_max_fds", "Limit of open file descriptors.", MetricType::Gauge, MaxOpenFiles()),
    };
  }
};

}  // namespace

std::shared_ptr<prometheus::Collectable> MakeProcessMetrics() { return std::make_shared<ProcessMetrics>(); }

}  // namespace vitower
